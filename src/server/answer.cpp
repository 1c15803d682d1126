#include "server/answer.h"

#include <fmt/core.h>

#include <algorithm>
#include <random>

#include "base/log.h"

namespace sluice::server {

namespace {

// A client that has so much left to read is waited for.
constexpr size_t kBehindBytes = 256 << 10;

}  // namespace

std::string new_id(std::string_view prefix) {
    static constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    thread_local std::mt19937_64 random(std::random_device{}());
    std::uniform_int_distribution<size_t> letter(0, kAlphabet.size() - 1);
    std::string id(prefix);
    for (int i = 0; i < 24; ++i) id += kAlphabet[letter(random)];
    return id;
}

AnswerDriver::AnswerDriver(std::shared_ptr<Exchange> exchange, std::unique_ptr<AnswerForm> form,
                           const Tokenizer& tokenizer, AnswerSetup setup, const std::shared_ptr<Job>& job)
    : exchange_(std::move(exchange)),
      form_(std::move(form)),
      setup_(std::move(setup)),
      job_(job),
      choices_per_prompt_(job->choices),
      prompt_tokens_(job->prompt_tokens()) {
    for (size_t i = 0; i < job->sequences(); ++i) choices_.emplace_back(AnswerText(tokenizer, setup_.reading));
}

void AnswerDriver::take(SequenceNews news) {
    exchange_->post([self = shared_from_this(), news = std::move(news)] { self->digest(news); });
}

void AnswerDriver::give_up(std::exception_ptr reason) {
    exchange_->post([self = shared_from_this(), reason = std::move(reason)] {
        try {
            std::rethrow_exception(reason);
        } catch (...) {
            self->fail(current_error());
        }
    });
}

bool AnswerDriver::behind() const {
    return exchange_->unsent() > kBehindBytes;
}

void AnswerDriver::begin(std::function<void()> cancel, std::function<void()> gone) {
    exchange_->post([self = shared_from_this(), cancel = std::move(cancel), gone = std::move(gone)] {
        self->cancel_ = cancel;
        self->form_->begin(self->usage());
        self->exchange_->on_gone([self, gone] {
            if (self->done_) return;
            self->done_ = true;
            gone();
            self->cancel_();
        });
    });
}

void AnswerDriver::digest(const SequenceNews& news) {
    Choice& choice = choices_[news.sequence];
    if (done_ || choice.text.finished) return;
    if (news.finished && news.finish == FinishReason::kError) {
        try {
            std::rethrow_exception(news.error);
        } catch (const std::exception& error) {
            log_warning("serve: a request failed: {}", error.what());
            fail(current_error());
        }
        return;
    }
    if (news.finished && news.finish == FinishReason::kCancelled) return;  // whoever cancelled has said why
    std::vector<Delta> deltas;
    std::vector<TokenText> tokens;
    for (size_t i = 0; i < news.ids.size(); ++i) {
        ++choice.tokens;
        const bool reasoned = choice.reading.in_reasoning();
        for (Delta& delta : choice.reading.push(news.ids[i])) deltas.push_back(std::move(delta));
        if (reasoned || choice.reading.in_reasoning()) ++choice.reasoning_tokens;
        if (setup_.log_probabilities) tokens.push_back({news.ids[i], news.choices[i]});
    }
    if (news.finished) {
        for (Delta& delta : choice.reading.finish()) deltas.push_back(std::move(delta));
        choice.cached = news.cached;
    }
    if (!tokens.empty()) {
        form_->tokens(news.sequence, tokens);
        choice.text.tokens.insert(choice.text.tokens.end(), tokens.begin(), tokens.end());
    }
    tell(news.sequence, std::move(deltas));
    if (news.finished && !choice.text.finished) end_choice(news.sequence, news.finish);
    end_if_all_finished();
}

void AnswerDriver::tell(size_t index, std::vector<Delta> deltas) {
    ChoiceText& text = choices_[index].text;
    for (const Delta& delta : deltas) {
        if (delta.part == Part::kToolCall) {
            if (setup_.single_call && delta.call > 0) return end_choice(index, FinishReason::kStop);
            while (text.calls.size() <= delta.call) text.calls.push_back({.id = new_id(setup_.call_prefix)});
            CallText& call = text.calls[delta.call];
            if (!delta.name.empty()) call.name = delta.name;
            call.arguments += delta.text;
        } else {
            (delta.part == Part::kContent ? text.content : text.reasoning) += delta.text;
        }
        form_->delta(index, delta, text);
    }
}

void AnswerDriver::end_choice(size_t index, FinishReason reason) {
    Choice& choice = choices_[index];
    ChoiceText& text = choice.text;
    text.finished = true;
    text.stop = choice.reading.stop_found();
    const bool cut = reason == FinishReason::kLength || reason == FinishReason::kContext;
    text.finish = cut && text.stop.empty() ? Finish::kLength : text.calls.empty() ? Finish::kStop : Finish::kToolCalls;
    form_->finish_choice(index, text);
}

void AnswerDriver::end_if_all_finished() {
    if (!std::ranges::all_of(choices_, [](const Choice& each) { return each.text.finished; })) return;
    done_ = true;
    std::vector<ChoiceText> texts;
    const Usage spent = usage();
    for (Choice& each : choices_) texts.push_back(std::move(each.text));
    form_->finish(texts, spent);
    if (setup_.single_call) cancel_();
}

void AnswerDriver::fail(const ApiError& error) {
    if (done_) return;
    done_ = true;
    form_->fail(error);
    if (cancel_) cancel_();
}

Usage AnswerDriver::usage() const {
    Usage sum;
    sum.prompt = prompt_tokens_;
    for (size_t i = 0; i < choices_.size(); ++i) {
        sum.completion += choices_[i].tokens;
        sum.reasoning += choices_[i].reasoning_tokens;
        if (i % choices_per_prompt_ == 0) sum.cached += choices_[i].cached;
    }
    return sum;
}

std::string AnswerDriver::progress() const {
    const std::shared_ptr<Job> job = job_.lock();
    const bool running = job != nullptr && job->running;
    const int64_t done = job != nullptr ? job->prompt_done.load() : prompt_tokens_, total = prompt_tokens_;
    Json report = {{"state", running ? "prefill" : "queued"}, {"done", done}, {"total", total}};
    if (done > 0 && done < total) {
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
        report["seconds_left"] =
            static_cast<int64_t>(seconds * static_cast<double>(total - done) / static_cast<double>(done));
    }
    return "progress " + to_text(report);
}

void AnswerDriver::tick(double keepalive_seconds) {
    EventStream* stream = form_->stream();
    if (done_ || stream == nullptr) return;
    const double silent = std::chrono::duration<double>(EventStream::Clock::now() - stream->last_written()).count();
    if (silent < keepalive_seconds) return;
    if (form_->comments()) stream->comment(progress());
    form_->alive();
}

}  // namespace sluice::server
