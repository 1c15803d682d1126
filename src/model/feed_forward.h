#pragma once

#include <memory>

#include "model/batch.h"
#include "model/expert_feed.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

// The part of a layer that works on each token alone.
class FeedForward {
  public:
    virtual ~FeedForward() = default;
    // residual += mlp(x); x [rows, hidden] is normed already. A failed read is noted in the batch's errors; the rows of
    // sequences that have one are not worth reading for, and mean nothing.
    virtual void run(Backend& backend, Batch& batch, ExpertFeed& feed, const Tensor& x, const Tensor& residual,
                     Workspace& workspace) const = 0;
    // The experts that this layer will probably need, those that most rows choose first, none that fewer than
    // `least_rows` choose: its router on x, an earlier layer's state normed for this one.
    virtual std::vector<ExpertKey> guess(Backend& backend, const Tensor& x, size_t least_rows,
                                         Workspace& workspace) const = 0;
    // Takes what run() takes, for sizing.
    virtual void take_scratch(int64_t rows, Workspace& workspace) const = 0;
};

// What every feed-forward block is made with.
struct FeedForwardContext {
    const Checkpoint& checkpoint;
    int layer = 0;
};

std::unique_ptr<FeedForward> make_feed_forward(const DenseMlpConfig& config, const FeedForwardContext& context,
                                               Trunk& trunk);
// Router, routed experts from the feed's store, shared expert.
std::unique_ptr<FeedForward> make_feed_forward(const MixtureConfig& config, const FeedForwardContext& context,
                                               Trunk& trunk);

}  // namespace sluice
