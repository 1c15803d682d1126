#include <algorithm>

#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/generation_impl.h"
#include "engine/snapshot.h"
#include "model/state_memory.h"

namespace sluice {

SequenceState& Session::Impl::made_state() {
    if (state == nullptr) state = engine->model->new_state();
    return *state;
}

void Session::Impl::rewind_state(int64_t position) {
    if (state == nullptr) return;
    if (!state->recurrent()) {
        if (state->position() > position) state->truncate(position);
        return;
    }
    const Checkpoint* best = nullptr;
    for (const auto& [handle, checkpoint] : checkpoints) {
        const int64_t at = checkpoint.state.position();
        const bool usable = at <= position && at <= static_cast<int64_t>(tokens.size()) &&
                            std::equal(checkpoint.tokens.begin(), checkpoint.tokens.end(), tokens.begin());
        if (usable && (best == nullptr || at > best->state.position())) best = &checkpoint;
    }
    if (best != nullptr) {
        *state = best->state.fork();
    } else {
        state->truncate(0);
    }
}

void Session::Impl::truncate(int64_t position) {
    if (state != nullptr && state->position() > position) rewind_state(position);
    tokens.resize(static_cast<size_t>(position));
}

SessionUse::SessionUse(Session::Impl& session) : session_(&session) {
    if (session.in_use.exchange(true)) {
        session_ = nullptr;
        fail(ErrorCode::kUsage, "the session is being evaluated; it can be used again when that is over");
    }
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Session::~Session() {
    if (impl_->generation != nullptr) impl_->generation->session = nullptr;
    Engine::Impl& engine = *impl_->engine;
    engine.retire(std::move(impl_));
}

const std::vector<TokenId>& Session::tokens() const {
    return impl_->tokens;
}

int64_t Session::position() const {
    return static_cast<int64_t>(impl_->tokens.size());
}

void Session::truncate(int64_t position) {
    const SessionUse use(*impl_);
    if (position < 0 || position > this->position()) {
        fail(ErrorCode::kUsage, "cannot go back to position {}: the session is at {}", position, this->position());
    }
    const ModelLock lock(*impl_->engine);
    impl_->truncate(position);
}

int64_t Session::checkpoint() {
    const SessionUse use(*impl_);
    impl_->engine->catch_up(*impl_);
    const ModelLock lock(*impl_->engine);
    const int64_t handle = impl_->next_checkpoint++;
    impl_->checkpoints.emplace(handle, Impl::Checkpoint{impl_->tokens, impl_->made_state().fork()});
    return handle;
}

void Session::restore(int64_t checkpoint) {
    const SessionUse use(*impl_);
    const ModelLock lock(*impl_->engine);
    const auto at = impl_->checkpoints.find(checkpoint);
    if (at == impl_->checkpoints.end()) fail(ErrorCode::kUsage, "checkpoint {} is not one of this session", checkpoint);
    impl_->made_state() = at->second.state.fork();
    impl_->tokens = at->second.tokens;
}

void Session::drop_checkpoint(int64_t checkpoint) {
    const SessionUse use(*impl_);
    const ModelLock lock(*impl_->engine);
    impl_->checkpoints.erase(checkpoint);
}

// Without the model's lock: nobody else changes this session's states.
uint64_t Session::state_bytes() const {
    StateMemory memory;
    if (impl_->state != nullptr) memory.add(*impl_->state);
    for (const auto& [handle, checkpoint] : impl_->checkpoints) memory.add(checkpoint.state);
    return memory.bytes();
}

void Session::save(const std::filesystem::path& path) const {
    const SessionUse use(*impl_);
    impl_->engine->catch_up(*impl_);
    const ModelLock lock(*impl_->engine);
    write_snapshot(path, impl_->engine->info, impl_->tokens, impl_->made_state());
}

void Session::load(const std::filesystem::path& path) {
    const SessionUse use(*impl_);
    const ModelLock lock(*impl_->engine);
    SequenceState& state = impl_->made_state();
    const Snapshot snapshot = read_snapshot(path, impl_->engine->info, state);
    state.load(static_cast<int64_t>(snapshot.tokens.size()), snapshot.blocks);
    impl_->tokens = snapshot.tokens;
}

}  // namespace sluice
