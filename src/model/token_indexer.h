#pragma once

#include <optional>

#include "model/batch.h"
#include "model/rotary_table.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// Chooses the tokens that a layer's attention sees: scores of its own heads over a cache of its own keys, one for each
// token or each pool of tokens.
class TokenIndexer {
  public:
    // What attention rotates by; without frequencies nothing is.
    struct Rotation {
        Tensor frequencies;
        float magnitude = 1;
    };

    TokenIndexer(const IndexerConfig& config, int layer, const Rotation& rotation, Trunk& trunk);

    // Behind the one part that attention itself keeps.
    static std::vector<StatePart> state_parts(const IndexerConfig& config, KvFormat format);

    // Of the rows of x, whose queries' latents are given, into the batch's choice.
    void run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& query_latent,
             Workspace& workspace) const;
    void take_scratch(int64_t rows, Workspace& workspace) const { (void)take(rows, workspace); }

  private:
    static constexpr size_t kKeys = 1, kOpenPool = 2;

    struct Scratch {
        Tensor query, key, weights;
        Tensor gate, pooled;  // of pools
    };
    struct Pooling {
        Weight gate;
        Tensor offsets;
    };

    Scratch take(int64_t rows, Workspace& workspace) const;
    void rotate(Backend& backend, const Batch& batch, const Tensor& x) const;
    void append(Backend& backend, const Batch& batch, const Tensor& x, const Scratch& s) const;

    IndexerConfig config_;
    int layer_;
    Rotation rotation_;
    Weight query_, key_, weights_;
    Tensor key_norm_, key_norm_bias_;
    std::optional<Pooling> pooling_;
};

}  // namespace sluice
