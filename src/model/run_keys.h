#pragma once

#include "model/batch.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// How keys are rotated: the last dims of each.
struct KeyRotation {
    Tensor frequencies;
    int64_t head_dim = 0;

    // All heads of x.
    void run(Backend& backend, const Tensor& x, const Tensor& positions) const;
};

// Keys of runs of tokens, for a cache of them: learned means of what their tokens give, normed, at the position of the
// run's first token.
class RunKeys {
  public:
    struct Roles {
        Role key, gate, offsets, norm;
    };
    // Parts of the layer's state.
    struct Parts {
        size_t keys, open_run;
    };
    struct Place {
        int layer;
        Parts parts;
        float epsilon;
    };

    RunKeys(const CompressedAttentionConfig& config, const Roles& roles, const Place& place,
            const KeyRotation& rotation, Trunk& trunk);

    // Those of Parts, in that order; `head_dim` of a key.
    static std::vector<StatePart> state_parts(const CompressedAttentionConfig& config, int64_t head_dim,
                                              KvFormat format, const std::string& name);

    // Appends what the rows of x complete.
    void run(Backend& backend, const Batch& batch, const Tensor& x, Workspace& workspace) const;
    void take_scratch(int64_t rows, Workspace& workspace) const { (void)take(rows, workspace); }
    int64_t ratio() const { return offsets_.rows; }
    PagedCache cache(const Batch& batch) const { return batch.cache(place_.layer, place_.parts.keys); }

  private:
    struct Scratch {
        Tensor key, gate, pooled;
    };

    Scratch take(int64_t rows, Workspace& workspace) const;

    Place place_;
    bool overlapping_;
    KeyRotation rotation_;
    Weight key_, gate_;
    Tensor offsets_, norm_;
};

}  // namespace sluice
