#include <algorithm>

#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/snapshot.h"
#include "model/state_memory.h"

namespace sluice {

void Session::Impl::rewind_state(int64_t position) {
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

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Session::~Session() {
    const std::lock_guard lock(impl_->engine->mutex);
    impl_->checkpoints.clear();
    impl_->state.reset();
}

const std::vector<TokenId>& Session::tokens() const {
    return impl_->tokens;
}

int64_t Session::position() const {
    return static_cast<int64_t>(impl_->tokens.size());
}

void Session::truncate(int64_t position) {
    const std::lock_guard lock(impl_->engine->mutex);
    const auto now = static_cast<int64_t>(impl_->tokens.size());
    if (position < 0 || position > now) {
        fail(ErrorCode::kUsage, "cannot go back to position {}: the session is at {}", position, now);
    }
    if (impl_->state->position() > position) impl_->rewind_state(position);
    impl_->tokens.resize(static_cast<size_t>(position));
}

int64_t Session::checkpoint() {
    const std::lock_guard lock(impl_->engine->mutex);
    impl_->engine->catch_up(*impl_, {});
    const int64_t handle = impl_->next_checkpoint++;
    impl_->checkpoints.emplace(handle, Impl::Checkpoint{impl_->tokens, impl_->state->fork()});
    return handle;
}

void Session::restore(int64_t checkpoint) {
    const std::lock_guard lock(impl_->engine->mutex);
    const auto at = impl_->checkpoints.find(checkpoint);
    if (at == impl_->checkpoints.end()) fail(ErrorCode::kUsage, "checkpoint {} is not one of this session", checkpoint);
    *impl_->state = at->second.state.fork();
    impl_->tokens = at->second.tokens;
}

void Session::drop_checkpoint(int64_t checkpoint) {
    const std::lock_guard lock(impl_->engine->mutex);
    impl_->checkpoints.erase(checkpoint);
}

uint64_t Session::state_bytes() const {
    const std::lock_guard lock(impl_->engine->mutex);
    StateMemory memory;
    memory.add(*impl_->state);
    for (const auto& [handle, checkpoint] : impl_->checkpoints) memory.add(checkpoint.state);
    return memory.bytes();
}

void Session::save(const std::filesystem::path& path) const {
    const std::lock_guard lock(impl_->engine->mutex);
    impl_->engine->catch_up(*impl_, {});
    write_snapshot(path, impl_->engine->info, impl_->tokens, *impl_->state);
}

void Session::load(const std::filesystem::path& path) {
    const std::lock_guard lock(impl_->engine->mutex);
    const Snapshot snapshot = read_snapshot(path, impl_->engine->info, *impl_->state);
    impl_->state->load(static_cast<int64_t>(snapshot.tokens.size()), snapshot.blocks);
    impl_->tokens = snapshot.tokens;
}

}  // namespace sluice
