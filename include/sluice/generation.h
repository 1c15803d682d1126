#pragma once

// One request to generate, as a value that Engine::step moves on.

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "sluice/options.h"
#include "sluice/sampling.h"
#include "sluice/statistics.h"
#include "sluice/tokenizer.h"

namespace sluice {

enum class FinishReason {
    kStop,       // an end token, or a stop string
    kLength,     // GenerationOptions::max_tokens
    kContext,    // the session is full
    kCancelled,  // Generation::cancel(), or a callback
    kError       // Generation::error()
};

struct GenerationResult {
    std::vector<TokenId> prompt_ids, token_ids;  // token_ids without the end token
    std::vector<TokenChoice> choices;            // of every one of token_ids, if they were asked for
    std::string text;                            // empty where there is no tokenizer
    FinishReason finish = FinishReason::kStop;
    double time_to_first_token_s = 0;
    double prefill_s = 0, decode_s = 0;  // in company with others, whose share is in it
    double sampling_s = 0;               // of both
    uint64_t prefilled_tokens = 0;       // evaluated, i.e. without what a cache supplied
    EngineStatistics spent;              // by the engine meanwhile, company included
};

// Tokens of the prompt that are evaluated or came from a cache, and all of them.
struct PromptProgress {
    int64_t done = 0, total = 0;
};

// Made by Engine::begin on a session, which it has to itself until it is finished or destroyed: a session that changes
// in between makes it fail. Must not outlive engine or session. One thread at a time, the one that calls Engine::step
// included; cancel() and progress() may be called from any thread at any time.
class Generation {
  public:
    ~Generation();
    Generation(const Generation&) = delete;
    Generation& operator=(const Generation&) = delete;

    bool finished() const;
    // Text that became certain since the last call: whole characters, no part of a stop string. Empty where there is no
    // tokenizer.
    std::string take_text();
    // What there is so far; times, `spent` and `finish` once finished() is true.
    const GenerationResult& result() const;
    // What ended it with kError; null otherwise.
    std::exception_ptr error() const;
    PromptProgress progress() const;
    // The next step ends it, evaluating nothing for it. What was evaluated stays in the session.
    void cancel();

    struct Impl;

  private:
    friend class Engine;
    explicit Generation(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
