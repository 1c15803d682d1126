#include <algorithm>

#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/generate.h"

namespace sluice {

PromptStart Engine::resume(Session& session, const std::string& text, std::span<const TokenId> tokens) {
    const std::lock_guard lock(impl_->mutex);
    Session::Impl& known = *session.impl_;
    if (known.tokens.size() >= tokens.size() || !std::equal(known.tokens.begin(), known.tokens.end(), tokens.begin())) {
        known.state->truncate(0);
        known.tokens.clear();
    }
    const PrefixCache::Prompt prompt{.text = text, .tokens = tokens};
    impl_->prefix_cache->resume(prompt, *known.state);
    // A state may be behind the session's tokens: then a cached one may be too.
    const auto cached = static_cast<size_t>(known.state->position());
    if (cached > known.tokens.size()) known.tokens.assign(tokens.begin(), tokens.begin() + known.state->position());
    const auto start = static_cast<int64_t>(known.tokens.size());
    return {.tokens = start, .remember_at = impl_->prefix_cache->worth_keeping(prompt, *known.state, start)};
}

void Engine::remember(const Session& session, const std::string& text) {
    const std::lock_guard lock(impl_->mutex);
    const Session::Impl& known = *session.impl_;
    if (known.state->position() != static_cast<int64_t>(known.tokens.size())) return;
    impl_->prefix_cache->put(text, known.tokens, *known.state);
}

GenerationResult Engine::generate_text(Session& session, const std::string& prompt, const GenerationOptions& options,
                                       const TokenCallback& on_token, const ProgressCallback& progress) {
    if (tokenizer() == nullptr) {
        fail(ErrorCode::kUsage, "{} has no tokenizer.json; give the prompt as token ids", impl_->info.model_name);
    }
    const std::vector<TokenId> tokens = tokenizer()->encode(prompt);
    const PromptStart start = resume(session, prompt, tokens);
    GenerationCallbacks callbacks;
    callbacks.on_token = on_token;
    callbacks.progress = progress;
    for (const int64_t position : start.remember_at)
        callbacks.stops.push_back(static_cast<size_t>(position - start.tokens));
    // The last of them is the prompt's own; those before it only share its beginning.
    callbacks.at_stop = [&](size_t stop) {
        remember(session, stop == callbacks.stops.back() ? prompt : std::string());
    };
    GenerationResult result =
        generate_from(*this, session, std::span(tokens).subspan(static_cast<size_t>(start.tokens)), options, callbacks);
    // A later turn begins with this prompt and what was answered, as far as it was evaluated.
    const std::vector<TokenId>& seen = session.tokens();
    const std::vector<TokenId> answered(seen.begin() + static_cast<ptrdiff_t>(tokens.size()), seen.end());
    if (!answered.empty()) remember(session, prompt + tokenizer()->decode(answered));
    result.prompt_ids = tokens;
    impl_->store->go_on_warming();
    return result;
}

}  // namespace sluice
