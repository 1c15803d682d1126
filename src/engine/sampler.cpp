#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "base/error.h"

namespace sluice {

namespace {

// A nucleus is almost always inside this many of the largest logits; only when it is not are more sorted.
constexpr size_t kFirstSorted = 256;

void require(bool ok, const char* option, double value, const char* range) {
    if (!ok) fail(ErrorCode::kUsage, "{} {} is out of range: {}", option, value, range);
}

}  // namespace

// The `count` largest, the largest first, the lower id first among equals: only what beats the worst of those found so
// far is looked at again.
std::vector<Sampler::Candidate> Sampler::largest_logits(std::span<const float> logits, size_t count) {
    const auto better = [](const Candidate& a, const Candidate& b) {
        return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    };
    std::vector<Candidate> best;
    float bar = -std::numeric_limits<float>::infinity();
    const auto keep_best = [&] {
        if (best.size() <= count) return;
        std::nth_element(best.begin(), best.begin() + static_cast<ptrdiff_t>(count) - 1, best.end(), better);
        best.resize(count);
        bar = best.back().logit;
    };
    for (size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] <= bar) continue;
        best.push_back({.id = static_cast<TokenId>(i), .logit = logits[i]});
        if (best.size() >= 4 * count) keep_best();
    }
    keep_best();
    std::ranges::sort(best, better);
    return best;
}

TokenId argmax(std::span<const float> logits) {
    return static_cast<TokenId>(std::ranges::find(logits, largest_of(logits)) - logits.begin());
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
    require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature", options.temperature,
            "0 (greedy) or more");
    require(options.top_k >= 0, "top-k", static_cast<double>(options.top_k), "0 (off) or more");
    require(options.top_p > 0 && options.top_p <= 1, "top-p", options.top_p, "above 0, at most 1 (off)");
    require(options.min_p >= 0 && options.min_p <= 1, "min-p", options.min_p, "0 (off) to 1");
    require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty), "repetition-penalty",
            options.repetition_penalty, "above 0; 1 is off");
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> history) {
    if (options_.repetition_penalty != 1.0) {
        penalized_.assign(logits.begin(), logits.end());
        const auto penalty = static_cast<float>(options_.repetition_penalty);
        for (const TokenId id : std::unordered_set<TokenId>(history.begin(), history.end())) {
            float& logit = penalized_[static_cast<size_t>(id)];
            logit = logit > 0 ? logit / penalty : logit * penalty;
        }
        logits = penalized_;
    }
    if (options_.temperature == 0) return argmax(logits);

    const auto temperature = static_cast<float>(options_.temperature);
    const float largest = largest_of(logits);
    if (options_.top_k == 0 && options_.top_p >= 1) {
        weights_.compute(logits, largest, temperature);
        if (options_.min_p == 0) return static_cast<TokenId>(weights_.find(uniform() * weights_.total()));
        return draw(above_min_p(logits.size()));
    }
    return draw(nucleus(logits, largest, temperature));
}

// Tokens in the order of their ids.
std::vector<Sampler::Candidate> Sampler::above_min_p(size_t tokens) const {
    std::vector<Candidate> kept;
    for (size_t i = 0; i < tokens; ++i) {
        if (static_cast<double>(weights_[i]) >= options_.min_p) {  // the largest weight is 1
            kept.push_back({.id = static_cast<TokenId>(i), .weight = weights_[i]});
        }
    }
    return kept;
}

// What top-k, top-p and min-p leave, the largest first.
std::vector<Sampler::Candidate> Sampler::nucleus(std::span<const float> logits, float largest, float temperature) {
    size_t count = options_.top_k > 0 ? static_cast<size_t>(options_.top_k) : kFirstSorted;
    double total = 0;
    if (options_.top_k == 0) {
        weights_.compute(logits, largest, temperature);
        total = weights_.total();
    }
    while (true) {
        std::vector<Candidate> kept = largest_logits(logits, count);
        double sum = 0;
        for (Candidate& c : kept) {
            c.weight = std::exp((c.logit - largest) / temperature);
            sum += static_cast<double>(c.weight);
        }
        if (options_.top_k > 0) total = sum;
        const bool complete = options_.top_k > 0 || kept.size() == logits.size();
        if (complete || sum >= options_.top_p * total) {
            cut(kept, options_.top_p * total);
            return kept;
        }
        count *= 8;
    }
}

// Drops what comes after the running sum has reached `mass`, and what min-p drops.
void Sampler::cut(std::vector<Candidate>& kept, double mass) const {
    double sum = 0;
    size_t size = 0;
    while (size < kept.size() && (size == 0 || (sum < mass && kept[size].weight >= options_.min_p))) {
        sum += static_cast<double>(kept[size++].weight);
    }
    kept.resize(size);
}

double Sampler::uniform() {
    // 53 random bits: the same stream on every standard library, unlike std::uniform_real_distribution.
    return static_cast<double>(random_() >> 11) * 0x1.0p-53;
}

TokenId Sampler::draw(const std::vector<Candidate>& candidates) {
    double total = 0;
    for (const Candidate& c : candidates) total += static_cast<double>(c.weight);
    double target = uniform() * total;
    for (const Candidate& c : candidates) {
        target -= static_cast<double>(c.weight);
        if (target < 0) return c.id;
    }
    return candidates.back().id;
}

}  // namespace sluice
