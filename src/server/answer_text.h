#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sluice/sampling.h"
#include "sluice/stop_matcher.h"
#include "sluice/tokenizer.h"

namespace sluice::server {

// A token as an answer's log-probabilities name it.
struct TokenText {
    TokenId id = 0;
    TokenChoice choice = {};
};

// A piece of an answer.
enum class Part { kContent, kReasoning, kToolCall };
struct Delta {
    Part part = Part::kContent;
    std::string text = {};  // of a tool call: of its arguments
    size_t call = 0;        // of a tool call: which
    std::string name = {};  // of a tool call: in its first delta alone, whose `text` is empty
};

// The text around the arguments of a call that an answer is made to be.
struct ForcedFrame {
    std::string name = {};  // of the function
    std::string before = {}, after = {};
};

// How the tokens of an answer are read.
struct ReadingOptions {
    std::vector<std::string> stop = {};
    bool raw = false;                      // text as it comes: nothing is told apart
    bool reasoning_open = false;           // the prompt ended inside a reasoning block
    std::string tools = {};                // JSON list of those offered; empty: none, and no calls
    std::vector<ForcedFrame> forced = {};  // the answer is one of these calls
};

class ForcedCall;

// From tokens to pieces: decoding, stop strings, reasoning, tool calls. One thread.
class AnswerText {
  public:
    AnswerText(const Tokenizer& tokenizer, const ReadingOptions& options);
    AnswerText(AnswerText&&) noexcept;
    ~AnswerText();

    std::vector<Delta> push(TokenId id);
    std::vector<Delta> finish();
    // The stop string that ended the answer; empty where none did.
    const std::string& stop_found() const { return matcher_.found(); }
    bool stopped() const { return matcher_.stopped(); }
    bool in_reasoning() const;

  private:
    std::vector<Delta> parse(const std::string& text);

    const Tokenizer& tokenizer_;
    ReadingOptions options_;
    StreamDecoder decoder_;
    StopMatcher matcher_;
    std::unique_ptr<ForcedCall> forced_;  // null where nothing is forced
};

}  // namespace sluice::server
