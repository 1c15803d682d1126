#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "engine/engine_impl.h"
#include "engine/generate.h"

namespace sluice {

namespace {

bool begins_with(std::span<const TokenId> tokens, std::span<const TokenId> prefix) {
    return prefix.size() < tokens.size() && std::equal(prefix.begin(), prefix.end(), tokens.begin());
}

// Loads `entry` into the session if it is a beginning of `tokens` longer than what is there; true when it
// did.
bool load_entry(Session::Impl& session, const PrefixCache::Entry& entry, std::span<const TokenId> tokens,
                const Engine::Impl& engine) {
    try {
        const Snapshot snapshot = read_snapshot(entry.path, engine.info, *session.state);
        if (snapshot.tokens.size() <= session.tokens.size() || !begins_with(tokens, snapshot.tokens))
            return false;
        session.state->load(static_cast<int64_t>(snapshot.tokens.size()), snapshot.blocks);
        session.tokens = snapshot.tokens;
        engine.prefix_cache->touch(entry);
        return true;
    } catch (const Error& error) {
        spdlog::debug("prefix cache: {}", error.what());
        if (error.code() == ErrorCode::kInvalidFile) engine.prefix_cache->remove(entry);
        return false;
    }
}

// Brings the session to the longest known beginning of the prompt that leaves at least one token to evaluate.
void resume(Session::Impl& session, std::string_view prompt, std::span<const TokenId> tokens,
            const Engine::Impl& engine) {
    if (!engine.prefix_cache) return;
    auto entry = engine.prefix_cache->find(prompt, engine.info);
    while (entry && !load_entry(session, *entry, tokens, engine)) {
        if (entry->text_bytes == 0) return;
        entry = engine.prefix_cache->find(prompt.substr(0, entry->text_bytes - 1), engine.info);
    }
}

}  // namespace

GenerationResult Engine::generate_text(Session& session, const std::string& prompt,
                                       const GenerationOptions& options, const TokenCallback& on_token,
                                       const ProgressCallback& progress) {
    if (tokenizer() == nullptr) {
        fail(ErrorCode::kUsage, "{} has no tokenizer.json; give the prompt as token ids",
             impl_->info.model_name);
    }
    const std::vector<TokenId> tokens = tokenizer()->encode(prompt);
    Session::Impl& state = *session.impl_;
    if (!begins_with(tokens, state.tokens)) session.truncate(0);
    const auto remember = [&](const std::string& text) {
        if (!impl_->prefix_cache) return;
        const std::lock_guard lock(impl_->mutex);
        impl_->prefix_cache->put(text, impl_->info, state.tokens, *state.state);
    };
    {
        const std::lock_guard lock(impl_->mutex);
        resume(state, prompt, tokens, *impl_);
    }
    const auto known = static_cast<size_t>(session.position());
    GenerationResult result = generate_from(
        *this, session, std::span(tokens).subspan(known), options,
        {.on_token = on_token, .progress = progress, .after_prompt = [&] { remember(prompt); }});
    // A later turn begins with this prompt and what was answered, as far as it was evaluated.
    const std::vector<TokenId> answered(state.tokens.begin() + static_cast<ptrdiff_t>(tokens.size()),
                                        state.tokens.end());
    if (!answered.empty()) remember(prompt + tokenizer()->decode(answered));
    result.prompt_ids = tokens;
    return result;
}

}  // namespace sluice
