#pragma once

#include <memory>
#include <span>
#include <vector>

#include "checkpoint/ngram_hash.h"
#include "experts/row_table.h"
#include "model/batch.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// Adds to the residual, before a layer's mixer, what a table says of the last tokens of every sequence. Rows of the
// table are asked for before the pass begins and waited for here.
class NGrams {
  public:
    // `first_part`: of state_parts() among those of the layer.
    NGrams(const Checkpoint& checkpoint, int layer, size_t first_part, Trunk& trunk);

    std::vector<StatePart> state_parts() const;
    void take_scratch(int64_t rows, Workspace& workspace) const { (void)take(rows, workspace); }
    uint64_t fetch_bytes(int64_t rows) const;  // beside it, in memory of the host

    // Begins to read what the batch's new tokens need, and notes them for those that follow.
    RowFetch fetch(Backend& backend, const Batch& batch, std::span<const std::span<const int32_t>> ids,
                   RowTable& table) const;
    // streams [rows, *] += what the rows say. A sequence whose rows could not be read gets an error.
    void run(Backend& backend, Batch& batch, RowFetch& fetch, const Tensor& streams, Workspace& workspace) const;

  private:
    struct Scratch {
        Tensor embedding, keys, queries, value, gated;
    };
    static constexpr size_t kConvolution = 0, kTokens = 1;  // of state_parts()

    Scratch take(int64_t rows, Workspace& workspace) const;
    // The tokens in front of a sequence's new ones, from its state, which the new ones' last replace there.
    std::vector<int32_t> exchange_tokens(Backend& backend, const Region& state, int64_t position,
                                         std::span<const int32_t> ids) const;
    void put_rows(Backend& backend, Batch& batch, RowFetch& fetch, const Tensor& embedding) const;

    int layer_;
    size_t first_part_;
    int64_t hidden_, channels_, row_dim_;
    uint64_t row_bytes_;
    float epsilon_;
    NGramHash hash_;
    Weight key_, value_;
    Tensor key_norm_, query_norm_, convolution_norm_, convolution_;
};

}  // namespace sluice
