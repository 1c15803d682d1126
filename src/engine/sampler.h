#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "sluice/options.h"
#include "sluice/tokenizer.h"

namespace sluice {

// Draws the next token from logits. Filters apply in the order of llama.cpp and transformers: repetition
// penalty, temperature, top-k, top-p, min-p. Deterministic for a seed. One thread.
class Sampler {
  public:
    // Throws kUsage naming the option that is out of range.
    explicit Sampler(const SamplingOptions& options);

    // `history`: all tokens of the sequence, for the repetition penalty.
    TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

  private:
    struct Candidate {
        TokenId id;
        float logit;
    };
    TokenId draw(std::vector<Candidate>& candidates);
    void keep_top_p(std::vector<Candidate>& candidates) const;

    SamplingOptions options_;
    std::mt19937_64 random_;
    std::vector<float> penalized_;
    std::vector<Candidate> candidates_;
};

// The index of the largest logit; the lowest index among equals.
TokenId argmax(std::span<const float> logits);

}  // namespace sluice
