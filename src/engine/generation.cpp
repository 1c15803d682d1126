#include "sluice/generation.h"

#include <algorithm>

#include "base/error.h"
#include "engine/generation_impl.h"

namespace sluice {

namespace {

EngineStatistics difference(const EngineStatistics& after, const EngineStatistics& before) {
    EngineStatistics d = after;
    d.experts = after.experts - before.experts;
    for (size_t i = 0; i < d.peers.size(); ++i) d.peers[i] = after.peers[i] - before.peers[i];
    d.tokens_evaluated -= before.tokens_evaluated;
    return d;
}

bool is_of_file(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& each) {
        return each.code() == ErrorCode::kInvalidFile;
    } catch (...) {
        return false;
    }
}

}  // namespace

Generation::Impl::Impl(Engine::Impl& of, Session::Impl& on, std::vector<TokenId> prompt, const GenerationOptions& how)
    : engine(of),
      session(&on),
      options(how),
      sampler(how.sampling),
      stream(of.tokenizer ? &*of.tokenizer : nullptr, how.stop) {
    result.prompt_ids = std::move(prompt);
    work_.session = session;
    work_.cancelled = &cancelled;
    work_.cancelled_by_caller = options.cancelled;
    session->generation = this;
}

Generation::Impl::~Impl() {
    if (session != nullptr && session->generation == this) session->generation = nullptr;
}

void Generation::Impl::check_session() const {
    if (session == nullptr) fail(ErrorCode::kUsage, "the session of a generation is gone");
    if (started && session->tokens.size() != session_tokens_) {
        fail(ErrorCode::kUsage, "the session of a generation is at {} tokens, it was left at {}",
             session->tokens.size(), session_tokens_);
    }
}

void Generation::Impl::start() {
    started = true;
    session_tokens_ = session->tokens.size();
    before_ = engine.statistics();
    watch_.restart();
    if (whole) {
        PromptStart start = engine.resume(*session, result.prompt_ids);
        cached_ = static_cast<size_t>(start.tokens);
        points_ = std::move(start.remember_at);
    } else {
        engine.check_room(session->tokens.size(), result.prompt_ids.size());
    }
    take_piece(cached_);
}

void Generation::Impl::take_piece(size_t begin) {
    piece_begin_ = begin;
    piece_end_ = result.prompt_ids.size();
    const auto point = std::ranges::upper_bound(points_, static_cast<int64_t>(begin));
    if (point != points_.end()) piece_end_ = static_cast<size_t>(*point);
    work_.tokens = std::span(result.prompt_ids).subspan(begin, piece_end_ - begin);
    work_.logits = piece_end_ == result.prompt_ids.size() ? LogitsWanted::kLast : LogitsWanted::kNone;
    work_.done = 0;
    prompt_done = begin;
}

void Generation::Impl::note_pass() {
    session_tokens_ = session->tokens.size();
    if (drawing) return;
    prompt_done = piece_begin_ + work_.done;
    if (work_.output.error || work_.remaining() > 0) return;
    if (!std::ranges::binary_search(points_, static_cast<int64_t>(piece_end_))) return;
    engine.remember(*session, true);
}

bool Generation::Impl::samples_alone() const {
    const bool draws = drawing || (piece_end_ == result.prompt_ids.size() && options.max_tokens > 0);
    return draws && !options.mask && !work_.output.error && work_.remaining() == 0 && !work_.likeliest;
}

void Generation::Impl::sample_ahead() {
    try {
        sampled_ = sample();
    } catch (...) {
        sampling_error_ = std::current_exception();
    }
}

void Generation::Impl::go_on() {
    if (work_.output.error && work_.is_cancelled()) return finish(FinishReason::kCancelled);
    if (work_.output.error) std::rethrow_exception(work_.output.error);
    if (work_.remaining() > 0) return;
    if (drawing) return draw();
    if (piece_end_ < result.prompt_ids.size()) return take_piece(piece_end_);
    result.prefill_s = watch_.seconds();
    result.prefilled_tokens = work_.evaluated;
    drawing = true;
    watch_.restart();
    if (options.max_tokens <= 0) return finish(FinishReason::kLength);
    draw();
}

// Embeddings are often padded past the tokenizer's last id; those rows are no tokens.
size_t Generation::Impl::drawable_tokens() const {
    const auto all = static_cast<size_t>(engine.info.vocabulary);
    return engine.tokenizer ? std::min(all, engine.tokenizer->vocabulary_size()) : all;
}

TokenId Generation::Impl::next_token() {
    if (const std::optional<TokenId> drawn = std::exchange(work_.likeliest, std::nullopt)) {
        if (work_.draw) sampler.skip();
        return *drawn;
    }
    if (sampling_error_) std::rethrow_exception(std::exchange(sampling_error_, nullptr));
    if (const std::optional<TokenId> sampled = std::exchange(sampled_, std::nullopt)) return *sampled;
    return sample();
}

TokenId Generation::Impl::sample() {
    const Stopwatch sampling;
    const std::vector<float> logits = std::exchange(work_.output.logits, {});
    const size_t tokens = std::min(logits.size(), drawable_tokens());
    const std::span<const float> drawable = std::span(logits).first(tokens);
    std::optional<TokenMask> mask;
    if (options.mask) options.mask(result.token_ids, mask.emplace(tokens));
    const TokenId id = sampler.sample(
        drawable, {.tokens = session->tokens, .generated = result.token_ids, .mask = mask ? &*mask : nullptr});
    if (options.log_probabilities && !(engine.is_end(id) && !options.ignore_eos)) {
        result.choices.push_back(log_probabilities(drawable, id, *options.log_probabilities));
    }
    result.sampling_s += sampling.seconds();
    return id;
}

void Generation::Impl::draw() {
    const TokenId id = next_token();
    if (result.token_ids.empty()) result.time_to_first_token_s = result.prefill_s + watch_.seconds();
    if (!options.ignore_eos && engine.is_end(id)) return finish(FinishReason::kStop);
    result.token_ids.push_back(id);
    const std::string certain = stream.push(id);
    result.text += certain;
    untaken += certain;
    if (stream.stopped()) return finish(FinishReason::kStop);
    if (static_cast<int64_t>(result.token_ids.size()) >= options.max_tokens) return finish(FinishReason::kLength);
    if (static_cast<int64_t>(session->tokens.size()) >= engine.info.context) return finish(FinishReason::kContext);
    last_ = id;
    work_.tokens = std::span(&last_, 1);
    work_.logits = LogitsWanted::kLast;
    const bool as_they_come = !options.mask && !options.log_probabilities && sampler.takes_logits_as_they_come();
    work_.likeliest_of = as_they_come ? static_cast<int64_t>(drawable_tokens()) : 0;
    work_.goes_on = as_they_come && static_cast<int64_t>(result.token_ids.size()) + 1 < options.max_tokens &&
                    static_cast<int64_t>(session->tokens.size()) + 1 < engine.info.context;
    const bool drawn = as_they_come && !sampler.takes_the_likeliest();
    work_.draw = drawn ? std::optional(draw_settings(0)) : std::nullopt;
    work_.next_draw = drawn && work_.goes_on ? std::optional(draw_settings(1)) : std::nullopt;
    work_.done = 0;
}

DrawSettings Generation::Impl::draw_settings(size_t later) {
    return {.temperature = options.sampling.temperature,
            .top_p = options.sampling.top_p,
            .min_p = options.sampling.min_p,
            .uniform = sampler.next_uniform(later),
            .top_k = options.sampling.top_k};
}

void Generation::Impl::finish(FinishReason reason) {
    finished = true;
    result.finish = reason;
    if (drawing) result.decode_s = watch_.seconds();
    if (started) result.spent = difference(engine.statistics(), before_);
    const std::string rest = stream.finish();
    result.text += rest;
    untaken += rest;
    if (session != nullptr) session->generation = nullptr;
}

void Generation::Impl::fail_with(std::exception_ptr reason) {
    error = std::move(reason);
    finish(FinishReason::kError);
}

void Generation::Impl::remember_end() {
    if (!whole || !started || session == nullptr) return;
    if (error || !drawing) session->unwritten.clear();  // what was evaluated of the prompt may not be finite
    if (error && cached_ > 0 && is_of_file(error)) engine.forget(result.prompt_ids);
    if (error || session->tokens.empty()) return;
    if (!drawing) return engine.remember(*session, false);
    // A later turn begins with this prompt and what was answered, as far as it was evaluated.
    if (session->tokens.size() > result.prompt_ids.size()) engine.remember(*session, true);
    engine.write_remembered(*session);
}

Generation::Generation(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Generation::~Generation() = default;

bool Generation::finished() const {
    return impl_->finished;
}

std::string Generation::take_text() {
    return std::exchange(impl_->untaken, {});
}

const GenerationResult& Generation::result() const {
    return impl_->result;
}

std::exception_ptr Generation::error() const {
    return impl_->error;
}

PromptProgress Generation::progress() const {
    return {.done = static_cast<int64_t>(impl_->prompt_done.load()),
            .total = static_cast<int64_t>(impl_->result.prompt_ids.size())};
}

void Generation::cancel() {
    impl_->cancelled = true;
}

}  // namespace sluice
