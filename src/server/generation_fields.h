#pragma once

#include <optional>
#include <string>

#include "server/json.h"
#include "sluice/engine.h"

namespace sluice::server {

// The most that a request may ask for: of OpenAI's clients, and of the others.
inline constexpr size_t kMostOpenAiStops = 16, kMostStops = 64;
inline constexpr int64_t kMostChoices = 128, kMostLogProbabilities = 20;

// How tokens are drawn, from the fields that all APIs share: temperature, top_p, top_k, min_p, seed, penalties,
// logit_bias, ignore_eos. What is left out is as the checkpoint says; without a seed one is drawn.
GenerationOptions read_sampling(const Fields& fields, const Engine& engine, double highest_temperature = 2);

// The tokens that an answer may have: what was asked for, within the server's limit and the context's.
int64_t answer_limit(std::optional<int64_t> asked, const Engine& engine, size_t prompt_tokens, int64_t server_limit);

}  // namespace sluice::server
