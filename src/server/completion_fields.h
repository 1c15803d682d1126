#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/generation_fields.h"
#include "server/json.h"
#include "sluice/tokenizer.h"

namespace sluice::server {

// A text whose special tokens are special, or token ids: at least one, all below the vocabulary.
using PlainPrompt = std::variant<std::string, std::vector<TokenId>>;

struct CompletionRequest {
    std::vector<PlainPrompt> prompts;  // at least one
    GenerationOptions options;         // how tokens are drawn, stop strings, log_probabilities
    int64_t max_tokens = 16;
    size_t choices = 1;
    bool echo = false;  // the answers begin with their prompts
};

// What a body of /v1/completions says.
CompletionRequest read_completion_request(const RequestDefaults& defaults, const Fields& fields);

}  // namespace sluice::server
