#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/answer_text.h"
#include "server/api_error.h"
#include "server/exchange.h"
#include "server/scheduler.h"
#include "server/sse.h"

namespace sluice::server {

enum class Finish { kStop, kLength, kToolCalls };

struct CallText {
    std::string id = {}, name = {}, arguments = {};
};

// What there is of one choice so far.
struct ChoiceText {
    std::string content, reasoning;
    std::vector<CallText> calls;
    std::vector<TokenText> tokens;  // if log-probabilities were asked for
    Finish finish = Finish::kStop;
    std::string stop;  // the stop string that ended it
    bool finished = false;
};

struct Usage {
    int64_t prompt = 0, cached = 0;  // tokens; `cached` of `prompt`
    int64_t completion = 0, reasoning = 0;
    int64_t total() const { return prompt + completion; }
};

// How one API says what happens to a request. The network's thread alone. Those of whole answers write when all is
// done; those of streams at every call.
class AnswerForm {
  public:
    virtual ~AnswerForm() = default;

    // Before the prompt is evaluated.
    virtual void begin(const Usage& expected) { (void)expected; }
    // `choice` has it already.
    virtual void delta(size_t index, const Delta& delta, const ChoiceText& choice) {
        (void)index, (void)delta, (void)choice;
    }
    // The tokens whose text is in the next deltas of the choice.
    virtual void tokens(size_t index, const std::vector<TokenText>& tokens) { (void)index, (void)tokens; }
    virtual void finish_choice(size_t index, const ChoiceText& choice) { (void)index, (void)choice; }
    virtual void finish(const std::vector<ChoiceText>& choices, const Usage& usage) = 0;
    virtual void fail(const ApiError& error) = 0;
    // Beside the comment that carries the progress.
    virtual void alive() {}
    virtual bool comments() const { return true; }  // whether the stream may have comments
    // Null where the answer comes whole.
    virtual EventStream* stream() { return nullptr; }
};

struct AnswerSetup {
    ReadingOptions reading = {};
    bool log_probabilities = false;
    bool single_call = false;  // the answer ends with its first tool call
    std::string call_prefix = "call_";
};

// Between a job and its client: reads the tokens, tells the form, watches for the client's end.
class AnswerDriver final : public JobListener, public std::enable_shared_from_this<AnswerDriver> {
  public:
    AnswerDriver(std::shared_ptr<Exchange> exchange, std::unique_ptr<AnswerForm> form, const Tokenizer& tokenizer,
                 AnswerSetup setup, const std::shared_ptr<Job>& job);

    // Any thread.
    void take(SequenceNews news) override;
    void give_up(std::exception_ptr reason) override;
    bool behind() const override;
    // The job was accepted. `cancel` ends it; `gone`: its client went away.
    void begin(std::function<void()> cancel, std::function<void()> gone);

    // The network's thread. Says that the stream lives, if nothing was said for so long.
    void tick(double keepalive_seconds);
    bool done() const { return done_; }

  private:
    struct Choice {
        explicit Choice(AnswerText reader) : reading(std::move(reader)) {}
        AnswerText reading;
        ChoiceText text;
        int64_t tokens = 0, reasoning_tokens = 0, cached = 0;
    };

    void digest(const SequenceNews& news);
    void tell(size_t index, std::vector<Delta> deltas);
    void end_choice(size_t index, FinishReason reason);
    void end_if_all_finished();
    void fail(const ApiError& error);
    Usage usage() const;
    std::string progress() const;

    std::shared_ptr<Exchange> exchange_;
    std::unique_ptr<AnswerForm> form_;
    AnswerSetup setup_;
    std::weak_ptr<Job> job_;  // it has this as its listener
    const size_t choices_per_prompt_;
    const int64_t prompt_tokens_;
    std::vector<Choice> choices_;
    std::function<void()> cancel_;
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
    bool done_ = false;
};

// "chatcmpl-" and 24 letters and digits that nobody can foresee.
std::string new_id(std::string_view prefix);

}  // namespace sluice::server
