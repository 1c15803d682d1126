#pragma once

#include <vector>

#include "model/batch.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// Chooses the tokens that a layer's grouped attention sees, in pools of neighbours: scores of its own heads over a
// cache of the means of their keys, which are normed and rotated then, by the place of a pool's first token.
class PooledIndexer {
  public:
    struct Context {
        int layer = 0;
        size_t first_part = 0;  // of state_parts() among those of the layer
        float epsilon = 0;      // of its norms
        Tensor frequencies;     // of its rotation
    };

    PooledIndexer(const IndexerConfig& config, const Context& context, Trunk& trunk);

    static std::vector<StatePart> state_parts(const IndexerConfig& config, KvFormat format);

    // Of the rows of x, into the batch's choice, which is returned.
    Tensor run(Backend& backend, const Batch& batch, const Tensor& x, Workspace& workspace) const;
    void take_scratch(int64_t rows, Workspace& workspace) const { (void)take(rows, workspace); }
    // What a backend of the host takes for the choice among `tokens`, and for what `bytes` a token are gathered of it.
    uint64_t context_scratch_bytes(int64_t tokens, uint64_t bytes) const;

  private:
    static constexpr size_t kKeys = 0, kOpenPool = 1;  // of state_parts()

    struct Scratch {
        Tensor projected, pooled;
    };

    Scratch take(int64_t rows, Workspace& workspace) const;
    void place(Backend& backend, const Tensor& x, const Tensor& norm, const Tensor& positions) const;

    IndexerConfig config_;
    Context context_;
    Weight query_key_;
    Tensor query_norm_, key_norm_, alike_;
};

}  // namespace sluice
