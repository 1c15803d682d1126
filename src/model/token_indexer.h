#pragma once

#include "model/batch.h"
#include "model/rotary_table.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// Chooses the tokens that a layer's attention sees: scores of its own heads over a cache of its own keys.
class TokenIndexer {
  public:
    // What attention rotates by.
    struct Rotation {
        Tensor frequencies;
        float magnitude = 1;
    };

    TokenIndexer(const IndexerConfig& config, int layer, const Rotation& rotation, Trunk& trunk);

    static StatePart state_part(const IndexerConfig& config, KvFormat format);

    // Of the rows of x, whose queries' latents are given, into the batch's choice; `cache` is that of state_part().
    void run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& query_latent, const PagedCache& cache,
             Workspace& workspace) const;
    void take_scratch(int64_t rows, Workspace& workspace) const { (void)take(rows, workspace); }

  private:
    struct Scratch {
        Tensor query, key, weights;
    };

    Scratch take(int64_t rows, Workspace& workspace) const;
    void rotate(Backend& backend, const Batch& batch, const Tensor& x) const;

    IndexerConfig config_;
    Rotation rotation_;
    Weight query_, key_, weights_;
    Tensor key_norm_, key_norm_bias_;
};

}  // namespace sluice
