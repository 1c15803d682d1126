#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/error.h"

namespace sluice {

namespace {

// A nucleus is almost always inside this many of the largest logits; only when it is not are more sorted.
constexpr size_t kFirstSorted = 256;

void require(bool ok, const char* option, double value, const char* range) {
    if (!ok) fail(ErrorCode::kUsage, "{} {} is out of range: {}", option, value, range);
}

bool higher(float logit_a, TokenId a, float logit_b, TokenId b) {
    return logit_a != logit_b ? logit_a > logit_b : a < b;
}

}  // namespace

TokenId argmax(std::span<const float> logits) {
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
    require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
            options.temperature, "0 (greedy) or more");
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

    candidates_.clear();
    const float largest = *std::max_element(logits.begin(), logits.end());
    const auto temperature = static_cast<float>(options_.temperature);
    // Tokens that min-p would drop never enter; with min-p off, everything does.
    const float floor = options_.min_p > 0
                            ? largest + temperature * std::log(static_cast<float>(options_.min_p))
                            : -std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < logits.size(); ++i) {
        if (logits[i] >= floor) {
            candidates_.push_back({static_cast<TokenId>(i), (logits[i] - largest) / temperature});
        }
    }
    const auto by_logit = [](const Candidate& a, const Candidate& b) {
        return higher(a.logit, a.id, b.logit, b.id);
    };
    const auto top_k = static_cast<size_t>(options_.top_k);
    if (top_k > 0 && top_k < candidates_.size()) {
        std::nth_element(candidates_.begin(), candidates_.begin() + static_cast<ptrdiff_t>(top_k),
                         candidates_.end(), by_logit);
        candidates_.resize(top_k);
    }
    if (options_.top_p < 1) keep_top_p(candidates_);
    return draw(candidates_);
}

void Sampler::keep_top_p(std::vector<Candidate>& candidates) const {
    double total = 0;
    for (const Candidate& c : candidates) total += std::exp(static_cast<double>(c.logit));
    const auto by_logit = [](const Candidate& a, const Candidate& b) {
        return higher(a.logit, a.id, b.logit, b.id);
    };
    size_t sorted = 0;
    double sum = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
        if (i == sorted) {
            const size_t next = std::min(candidates.size(), std::max(kFirstSorted, sorted * 4));
            const auto begin = candidates.begin() + static_cast<ptrdiff_t>(sorted);
            std::partial_sort(begin, candidates.begin() + static_cast<ptrdiff_t>(next), candidates.end(),
                              by_logit);
            sorted = next;
        }
        sum += std::exp(static_cast<double>(candidates[i].logit));
        if (sum >= options_.top_p * total) {
            candidates.resize(i + 1);
            return;
        }
    }
}

TokenId Sampler::draw(std::vector<Candidate>& candidates) {
    double total = 0;
    for (const Candidate& c : candidates) total += std::exp(static_cast<double>(c.logit));
    // 53 random bits: the same stream on every standard library, unlike std::uniform_real_distribution.
    double target = static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
    for (const Candidate& c : candidates) {
        target -= std::exp(static_cast<double>(c.logit));
        if (target < 0) return c.id;
    }
    return candidates.back().id;
}

}  // namespace sluice
