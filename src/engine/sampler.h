#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "engine/softmax_weights.h"
#include "sluice/options.h"
#include "sluice/tokenizer.h"

namespace sluice {

// Draws the next token from logits. Filters apply in the order of llama.cpp and transformers: repetition penalty,
// temperature, top-k, top-p, min-p. Deterministic for a seed. One thread.
class Sampler {
  public:
    // Throws kUsage naming the option that is out of range.
    explicit Sampler(const SamplingOptions& options);

    // `history`: all tokens of the sequence, for the repetition penalty.
    TokenId sample(std::span<const float> logits, std::span<const TokenId> history);

  private:
    struct Candidate {
        TokenId id = 0;
        float logit = 0;
        float weight = 0;  // exp of the logit, that of the largest being 1
    };
    static std::vector<Candidate> largest_logits(std::span<const float> logits, size_t count);
    std::vector<Candidate> above_min_p(size_t tokens) const;
    std::vector<Candidate> nucleus(std::span<const float> logits, float largest, float temperature);
    void cut(std::vector<Candidate>& kept, double mass) const;
    double uniform();  // in [0, 1)
    TokenId draw(const std::vector<Candidate>& candidates);

    SamplingOptions options_;
    std::mt19937_64 random_;
    std::vector<float> penalized_;
    SoftmaxWeights weights_;
};

// The index of the largest logit; the lowest index among equals.
TokenId argmax(std::span<const float> logits);

}  // namespace sluice
