#pragma once

#include <memory>

#include "model/batch.h"
#include "model/block_output.h"
#include "model/expert_feed.h"
#include "model/trunk.h"
#include "model/workspace.h"

namespace sluice {

struct FeedForwardInput {
    Tensor x;         // [rows, hidden]: normed
    Tensor residual;  // [rows, hidden]: what x was made of
};

// The part of a layer that works on each token alone.
class FeedForward {
  public:
    virtual ~FeedForward() = default;
    // out = mlp(x) or out += mlp(x); x [rows, hidden] is the residual, normed. A failed read is noted in the batch's
    // errors; the rows of sequences that have one are not worth reading for, and mean nothing.
    virtual void run(Backend& backend, Batch& batch, ExpertFeed& feed, const FeedForwardInput& input,
                     const BlockOutput& out, Workspace& workspace) const = 0;
    // The experts that this layer will probably need, those that most rows choose first, none that fewer than
    // `least_rows` choose: its router on x, an earlier layer's state normed for this one.
    virtual std::vector<ExpertKey> guess(Backend& backend, const Tensor& x, size_t least_rows,
                                         Workspace& workspace) const = 0;
    // Whether a token's number alone says which experts it takes, so that nothing is guessed; and which ones these
    // tokens take, those of most of them first.
    virtual bool decided_by_token() const { return false; }
    virtual std::vector<ExpertKey> experts_of(Backend& backend, std::span<const int32_t> tokens) const {
        return (void)backend, (void)tokens, std::vector<ExpertKey>();
    }
    // What guess() wants of an earlier layer's state in place of the norm that stands before this block; null: that
    // one.
    virtual const Tensor* router_norm() const { return nullptr; }
    // Of a pass that brings experts to the device by itself: what an earlier layer's row, normed for that one, says of
    // the choice of this one, and the way of those experts to the device.
    virtual void guess_ahead(Backend& backend, const ExpertFeed& feed, const Tensor& x) const {
        (void)backend, (void)feed, (void)x;
    }
    virtual void fetch_ahead(Backend& backend, const ExpertFeed& feed) const { (void)backend, (void)feed; }
    // Whether run() over so many rows is the same operations whatever they choose though it cannot reach() experts:
    // they are all in the backend's memory, or there are none.
    virtual bool repeats(const Backend& backend, int64_t rows, const ResidentExperts& resident) const {
        return (void)backend, (void)rows, (void)resident, true;
    }
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
// Null.
std::unique_ptr<FeedForward> make_feed_forward(const NoFeedForward& config, const FeedForwardContext& context,
                                               Trunk& trunk);

}  // namespace sluice
