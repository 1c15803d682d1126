#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "server/json.h"
#include "sluice/options.h"

namespace sluice::server {

// The most that a request may ask for: of OpenAI's clients, and of the others.
inline constexpr size_t kMostOpenAiStops = 16, kMostStops = 64;
inline constexpr int64_t kMostChoices = 128, kMostLogProbabilities = 20;

// What a request leaves open, and how many tokens it may speak of.
struct RequestDefaults {
    SamplingOptions sampling;  // the checkpoint's own
    size_t vocabulary = 0;     // ids are below
};

// How tokens are drawn, from the fields that all APIs share: those of kSamplingOptions with their ranges, logit_bias
// and ignore_eos. Without a seed one is drawn.
GenerationOptions read_sampling(const Fields& fields, const RequestDefaults& defaults, double highest_temperature = 2);

// The tokens that an answer may have: what was asked for, within the server's limit (0: none) and the context's.
struct AnswerRoom {
    int64_t context = 0, prompt = 0;  // tokens
    int64_t server_limit = 0;
};
int64_t answer_limit(std::optional<int64_t> asked, const AnswerRoom& room);

}  // namespace sluice::server
