#pragma once

// Drawing the next token from the logits of a forward pass.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sluice/options.h"
#include "sluice/tokenizer.h"

namespace sluice {

// Which tokens may be drawn: one bit each. Filled by GenerationOptions::mask, for grammars and the like.
class TokenMask {
  public:
    explicit TokenMask(size_t tokens) : tokens_(tokens), words_((tokens + 63) / 64) {}

    size_t tokens() const { return tokens_; }
    bool allows(TokenId id) const { return (words_[word(id)] & bit(id)) != 0; }
    void allow(TokenId id) { words_[word(id)] |= bit(id); }
    void forbid(TokenId id) { words_[word(id)] &= ~bit(id); }
    void allow_all() { fill(~uint64_t{0}); }
    void allow_none() { fill(0); }
    // Token i is bit i % 64 of word i / 64. Bits past the last token count for nothing.
    std::span<uint64_t> words() { return words_; }

  private:
    static size_t word(TokenId id) { return static_cast<size_t>(id) / 64; }
    static uint64_t bit(TokenId id) { return uint64_t{1} << (static_cast<size_t>(id) % 64); }
    void fill(uint64_t value) { words_.assign(words_.size(), value); }

    size_t tokens_;
    std::vector<uint64_t> words_;
};

// The natural logarithm of a token's probability, as the model gives it: the softmax over all tokens that there are,
// before bias, penalties, mask, temperature and filters.
struct TokenLogProbability {
    TokenId id = 0;
    float log_probability = 0;
};

// Of a token that was drawn, and of the likeliest at its place, the likeliest first.
struct TokenChoice {
    float log_probability = 0;
    std::vector<TokenLogProbability> top;
};

// Draws tokens as SamplingOptions say. In the order of llama.cpp and transformers: bias, repetition, presence and
// frequency penalty, mask, temperature, top-k, top-p, min-p. Deterministic for a seed. One thread.
class Sampler {
  public:
    // Throws kUsage naming the option that is out of range.
    explicit Sampler(const SamplingOptions& options);
    Sampler(Sampler&&) noexcept;
    Sampler& operator=(Sampler&&) noexcept;
    ~Sampler();

    struct Context {
        std::span<const TokenId> tokens = {};     // the whole sequence, for the repetition penalty
        std::span<const TokenId> generated = {};  // what of it was drawn, for presence and frequency penalty
        const TokenMask* mask = nullptr;          // of at least as many tokens as there are logits
    };
    // `logits`: finite, at least one. Ids of the context that have no logit count for nothing. Throws kUsage where bias
    // and mask together leave no token.
    TokenId sample(std::span<const float> logits, const Context& context);
    // Whether the context changes nothing but for its mask; and whether that is then the first of the largest logits.
    bool takes_logits_as_they_come() const;
    bool takes_the_likeliest() const;
    // The number from 0 on, less than 1, by which the next token will be drawn where there is more than one, or one
    // that comes so many later; skip(): somebody else drew by it.
    double next_uniform(size_t later = 0);
    void skip();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// What the logits say of `id` and of the `top` likeliest tokens (the lowest id first among equals).
TokenChoice log_probabilities(std::span<const float> logits, TokenId id, size_t top);

}  // namespace sluice
