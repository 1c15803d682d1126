#pragma once

#include <map>
#include <memory>
#include <vector>

#include "model/sequence_state.h"
#include "sluice/engine.h"

namespace sluice {

// A session's tokens and how far its state has followed them: after a truncation or a failed read the state may be
// behind, and the next evaluation evaluates the tokens in between again.
struct Session::Impl {
    struct Checkpoint {
        std::vector<TokenId> tokens;
        SequenceState state;
    };

    Engine::Impl* engine = nullptr;
    std::vector<TokenId> tokens;
    std::unique_ptr<SequenceState> state;
    std::map<int64_t, Checkpoint> checkpoints;
    int64_t next_checkpoint = 1;

    // Puts the state at the last known point that is not after `position`: for recurrent layers a checkpoint or the
    // start.
    void rewind_state(int64_t position);
    // After a pass that failed half-way: recurrent state has seen rows that were not complete.
    void discard_step() { rewind_state(static_cast<int64_t>(tokens.size())); }
};

}  // namespace sluice
