#pragma once

#include <vector>

#include "sluice/engine.h"

namespace sluice::cli {

// `count` ids to measure with, the same every time: plain English where the model has a tokenizer, else ids drawn
// evenly from the vocabulary by a fixed seed.
std::vector<TokenId> bench_prompt(const Engine& engine, size_t count);

}  // namespace sluice::cli
