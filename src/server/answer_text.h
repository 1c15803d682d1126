#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "sluice/output_parser.h"
#include "sluice/sampling.h"
#include "sluice/stop_matcher.h"
#include "sluice/tokenizer.h"

namespace sluice::server {

// A token as an answer's log-probabilities name it.
struct TokenText {
    TokenId id = 0;
    TokenChoice choice = {};
};

// A piece of an answer: text, reasoning, or part of a tool call.
using Part = OutputPart;
using Delta = OutputDelta;

// How the tokens of an answer are read.
struct ReadingOptions {
    std::vector<std::string> stop = {};
    const OutputFormat* format = nullptr;  // null: text as it comes, nothing is told apart
    bool reasoning_open = false;           // the prompt ended inside a reasoning block
    std::string tools = {};                // JSON list of those offered; empty: none, and no calls
};

// From tokens to pieces: decoding, stop strings, reasoning, tool calls. One thread.
class AnswerText {
  public:
    AnswerText(const Tokenizer& tokenizer, const ReadingOptions& options);

    std::vector<Delta> push(TokenId id);
    std::vector<Delta> finish();
    // The stop string that ended the answer; empty where none did.
    const std::string& stop_found() const { return matcher_.found(); }
    bool stopped() const { return matcher_.stopped(); }
    bool in_reasoning() const;

  private:
    std::vector<Delta> parse(const std::string& text);

    const Tokenizer& tokenizer_;
    StreamDecoder decoder_;
    StopMatcher matcher_;
    std::optional<OutputParser> parser_;
};

}  // namespace sluice::server
