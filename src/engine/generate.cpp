#include <algorithm>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/generate.h"
#include "engine/sampler.h"
#include "engine/stop_matcher.h"

namespace sluice {

namespace {

EngineStatistics difference(const EngineStatistics& after, const EngineStatistics& before) {
    EngineStatistics d = after;
    d.experts = after.experts - before.experts;
    d.tokens_evaluated -= before.tokens_evaluated;
    return d;
}

// The text side of a generation: decodes token by token and withholds what may be the start of a stop string.
class TextStream {
  public:
    TextStream(const Tokenizer* tokenizer, const std::vector<std::string>& stop) : matcher_(stop) {
        if (tokenizer != nullptr) decoder_.emplace(*tokenizer);
    }
    // The text that became certain with this token.
    std::string push(TokenId id) { return decoder_ ? matcher_.push(decoder_->push(id)) : std::string(); }
    std::string finish() { return decoder_ ? matcher_.finish(decoder_->finish()) : std::string(); }
    bool stopped() const { return matcher_.stopped(); }

  private:
    std::optional<StreamDecoder> decoder_;
    StopMatcher matcher_;
};

// The logits of the prompt's last token.
std::vector<float> evaluate_prompt(Engine& engine, Session& session, std::span<const TokenId> prompt,
                                   const GenerationCallbacks& callbacks) {
    std::vector<size_t> ends = callbacks.stops;
    if (ends.empty() || ends.back() != prompt.size()) ends.push_back(prompt.size());
    std::vector<float> logits;
    size_t done = 0;
    for (size_t i = 0; i < ends.size(); ++i) {
        ProgressCallback progress;
        if (callbacks.progress) {
            progress = [&](int64_t part, int64_t) {
                return callbacks.progress(static_cast<int64_t>(done) + part, static_cast<int64_t>(prompt.size()));
            };
        }
        const LogitsWanted wanted = ends[i] == prompt.size() ? LogitsWanted::kLast : LogitsWanted::kNone;
        logits = engine.evaluate(session, prompt.subspan(done, ends[i] - done), wanted, progress).logits;
        done = ends[i];
        if (i < callbacks.stops.size()) callbacks.at_stop(done);
    }
    return logits;
}

}  // namespace

GenerationResult generate_from(Engine& engine, Session& session, std::span<const TokenId> prompt,
                               const GenerationOptions& options, const GenerationCallbacks& callbacks) {
    Sampler sampler(options.sampling);
    if (!options.stop.empty() && engine.tokenizer() == nullptr) {
        fail(ErrorCode::kUsage, "stop strings need a tokenizer, and {} has none", engine.info().model_name);
    }
    const EngineStatistics before = engine.statistics();
    GenerationResult result;
    result.prompt_ids.assign(prompt.begin(), prompt.end());
    Stopwatch watch;
    std::vector<float> logits = evaluate_prompt(engine, session, prompt, callbacks);
    result.prefill_s = watch.seconds();
    result.prefilled_tokens = engine.statistics().tokens_evaluated - before.tokens_evaluated;

    // Embeddings are often padded past the tokenizer's last id; those rows are no tokens.
    const size_t choices =
        engine.tokenizer() == nullptr ? logits.size() : std::min(logits.size(), engine.tokenizer()->vocabulary_size());
    TextStream text(engine.tokenizer(), options.stop);
    const auto& eos = engine.defaults().eos_ids;
    watch.restart();
    result.finish = FinishReason::kLength;
    while (static_cast<int64_t>(result.token_ids.size()) < options.max_tokens) {
        const Stopwatch sampling;
        const TokenId id = sampler.sample(std::span<const float>(logits).first(choices), session.tokens());
        result.sampling_s += sampling.seconds();
        if (result.token_ids.empty()) result.time_to_first_token_s = result.prefill_s + watch.seconds();
        if (!options.ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end()) {
            result.finish = FinishReason::kStop;
            break;
        }
        result.token_ids.push_back(id);
        const std::string certain = text.push(id);
        result.text += certain;
        if (callbacks.on_token && !callbacks.on_token(id, certain)) {
            result.finish = FinishReason::kCancelled;
            break;
        }
        if (text.stopped()) {
            result.finish = FinishReason::kStop;
            break;
        }
        if (static_cast<int64_t>(result.token_ids.size()) == options.max_tokens) break;
        if (session.position() + 1 > engine.info().context) {
            result.finish = FinishReason::kContext;
            break;
        }
        logits = engine.evaluate(session, std::span(&id, 1)).logits;
    }
    result.decode_s = watch.seconds();
    if (const std::string rest = text.finish(); !rest.empty()) {
        result.text += rest;
        if (callbacks.on_token && !result.token_ids.empty()) callbacks.on_token(result.token_ids.back(), rest);
    }
    result.spent = difference(engine.statistics(), before);
    return result;
}

GenerationResult Engine::generate(Session& session, std::span<const TokenId> prompt, const GenerationOptions& options,
                                  const TokenCallback& on_token, const ProgressCallback& progress) {
    GenerationCallbacks callbacks;
    callbacks.on_token = on_token;
    callbacks.progress = progress;
    GenerationResult result = generate_from(*this, session, prompt, options, callbacks);
    impl_->store->go_on_warming();
    return result;
}

}  // namespace sluice
