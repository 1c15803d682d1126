#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "experts/expert_store.h"
#include "experts/routing_trace.h"
#include "model/sequence_state.h"

namespace sluice {

class FeedForward;

// The next layer's feed-forward, whose needs the running layer may guess.
struct NextFeedForward {
    const FeedForward* block = nullptr;  // null: nobody should
    Tensor norm;
    float norm_epsilon = 0;
};

// One forward pass's rows: the new tokens of every sequence, one sequence after the other.
struct Batch {
    int64_t rows = 0;
    Tensor ids;                           // I32 [rows, 1]
    Tensor positions;                     // I32 [rows, 1]
    std::vector<int32_t> host_positions;  // [rows]
    std::vector<SequenceRows> sequences;
    std::vector<SequenceState*> states;      // one per sequence
    std::vector<std::exception_ptr> errors;  // one per sequence; set when an expert it needed could not be read

    ExpertStore* experts = nullptr;
    RoutingTrace* trace = nullptr;      // null: not recorded
    NextFeedForward next;               // seen from the layer that is running
    std::optional<ExpertStream> ahead;  // reads of the next layer's experts that nobody has asked for yet

    // Whether a sequence brings more than the one token of a step of decoding.
    bool is_prompt() const { return rows > static_cast<int64_t>(sequences.size()); }
    std::vector<KvSegment> kv_segments(int layer) const;
};

}  // namespace sluice
