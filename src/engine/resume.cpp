#include <algorithm>

#include "engine/engine_impl.h"

namespace sluice {

namespace {

// Templates begin every message with a special token, and so what makes the model answer.
int64_t answer_position(const Tokenizer* tokenizer, std::span<const TokenId> prompt) {
    if (tokenizer == nullptr) return 0;
    const auto vocabulary = static_cast<TokenId>(tokenizer->vocabulary_size());
    for (size_t i = prompt.size(); i > 0; --i) {
        if (prompt[i - 1] < vocabulary && tokenizer->is_special(prompt[i - 1])) return static_cast<int64_t>(i - 1);
    }
    return 0;
}

}  // namespace

PromptStart Engine::Impl::resume(Session::Impl& session, std::span<const TokenId> tokens) {
    SequenceState& state = session.made_state();
    std::vector<TokenId>& known = session.tokens;
    if (known.size() >= tokens.size() || !std::equal(known.begin(), known.end(), tokens.begin())) {
        state.truncate(0);
        known.clear();
    }
    prefix_cache->resume(tokens, state);
    // A state may be behind the session's tokens: then a cached one may be too.
    const auto cached = static_cast<size_t>(state.position());
    if (cached > known.size()) known.assign(tokens.begin(), tokens.begin() + state.position());
    const auto start = static_cast<int64_t>(known.size());
    return {.tokens = start,
            .remember_at = prefix_cache->worth_keeping(tokens, state, start,
                                                       answer_position(tokenizer ? &*tokenizer : nullptr, tokens))};
}

void Engine::Impl::remember(Session::Impl& session, bool on_disk) {
    if (session.state == nullptr || session.state->position() != static_cast<int64_t>(session.tokens.size())) return;
    prefix_cache->put(session.tokens, *session.state);
    if (on_disk && prefix_cache->has_folder()) session.unwritten.push_back({session.tokens, session.state->fork()});
}

void Engine::Impl::write_remembered(Session::Impl& session) {
    for (const Session::Impl::Checkpoint& each : session.unwritten) prefix_cache->write(each.tokens, each.state);
    session.unwritten.clear();
}

void Engine::Impl::forget(std::span<const TokenId> prompt) {
    prefix_cache->forget(prompt);
}

PromptStart Engine::resume(Session& session, const std::string&, std::span<const TokenId> tokens) {
    const SessionUse use(*session.impl_);
    const ModelLock lock(*impl_);
    return impl_->resume(*session.impl_, tokens);
}

void Engine::remember(const Session& session, const std::string& text) {
    const SessionUse use(*session.impl_);
    const ModelLock lock(*impl_);
    impl_->remember(*session.impl_, !text.empty());
    impl_->write_remembered(*session.impl_);
}

}  // namespace sluice
