#pragma once

#include <atomic>
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
    std::unique_ptr<SequenceState> state;  // made by the first evaluation, which has the model's lock
    std::map<int64_t, Checkpoint> checkpoints;
    int64_t next_checkpoint = 1;
    std::vector<Checkpoint> unwritten;       // worth an entry of the prefix folder once a generation is over
    Generation::Impl* generation = nullptr;  // that has the session to itself
    std::atomic<bool> in_use = false;        // see SessionUse
    std::unique_ptr<Impl> next_retired;      // see Engine::Impl::retire

    // The state, made if need be. With the model's lock.
    SequenceState& made_state();
    // Puts the state at the last known point that is not after `position`: for recurrent layers a checkpoint or the
    // start.
    void rewind_state(int64_t position);
    // After a pass that failed half-way: recurrent state has seen rows that were not complete.
    void discard_pass() { rewind_state(static_cast<int64_t>(tokens.size())); }
    // Session::truncate, with the model's lock.
    void truncate(int64_t position);
};

// A call that changes a session, as long as this lives. A second one, from a callback or another thread, throws kUsage.
class SessionUse {
  public:
    explicit SessionUse(Session::Impl& session);
    SessionUse(SessionUse&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
    ~SessionUse() {
        if (session_ != nullptr) session_->in_use = false;
    }

  private:
    Session::Impl* session_;
};

}  // namespace sluice
