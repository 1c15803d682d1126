#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <random>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "engine/sampling_ranges.h"
#include "engine/softmax_weights.h"
#include "sluice/sampling.h"

namespace sluice {

namespace {

// A nucleus is almost always inside this many of the largest logits; only when it is not are more sorted.
constexpr size_t kFirstSorted = 256;
// Below it the weights of all but the largest logit are zero, or no numbers at all.
constexpr double kGreedyBelow = 1e-6;
// A bias that forbids a token, and one that forbids all that have less.
constexpr double kBan = -100, kForce = 100;

constexpr float kNever = -std::numeric_limits<float>::infinity();

struct Candidate {
    TokenId id = 0;
    float logit = 0;
    float weight = 0;  // exp of the logit, that of the largest being 1
};

TokenId argmax(std::span<const float> logits) {
    return static_cast<TokenId>(std::ranges::find(logits, largest_of(logits)) - logits.begin());
}

// The `count` largest that are not ruled out, the largest first, the lower id first among equals: only what beats the
// worst of those found so far is looked at again.
std::vector<Candidate> largest_logits(std::span<const float> logits, size_t count) {
    const auto better = [](const Candidate& a, const Candidate& b) {
        return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    };
    std::vector<Candidate> best;
    float bar = kNever;
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

// Rules out what the bias forbids.
void add_bias(std::span<float> logits, const std::map<int32_t, double>& bias) {
    double most = 0;
    for (const auto& [id, value] : bias) most = std::max(most, value);
    if (most >= kForce) {
        for (size_t i = 0; i < logits.size(); ++i) {
            const auto at = bias.find(static_cast<int32_t>(i));
            if (at == bias.end() || at->second < kForce) logits[i] = kNever;
        }
    }
    for (const auto& [id, value] : bias) {
        if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
        float& logit = logits[static_cast<size_t>(id)];
        logit = value <= kBan ? kNever : logit + static_cast<float>(value);
    }
}

void forbid_masked(std::span<float> logits, const TokenMask& mask) {
    if (mask.tokens() < logits.size()) {
        fail(ErrorCode::kUsage, "a mask of {} tokens is too small for {} logits", mask.tokens(), logits.size());
    }
    for (size_t i = 0; i < logits.size(); ++i) {
        if (!mask.allows(static_cast<TokenId>(i))) logits[i] = kNever;
    }
}

}  // namespace

struct Sampler::Impl {
    SamplingOptions options;
    std::mt19937_64 random;
    std::deque<double> ahead;  // what uniform() gives next, as far as somebody asked before
    std::vector<float> adjusted;
    SoftmaxWeights weights;

    std::span<const float> adjust(std::span<const float> logits, const Context& context);
    std::vector<Candidate> above_min_p(size_t tokens) const;
    std::vector<Candidate> nucleus(std::span<const float> logits, float largest, float temperature);
    void cut(std::vector<Candidate>& kept, double mass) const;
    double uniform();  // in [0, 1)
    double new_uniform();
    TokenId draw(const std::vector<Candidate>& candidates);
};

Sampler::Sampler(const SamplingOptions& options) : impl_(std::make_unique<Impl>()) {
    if (const std::optional<RangeFault> fault = find_range_fault(options)) {
        fail(ErrorCode::kUsage, "`{}` {}", fault->field, fault->problem);
    }
    impl_->options = options;
    impl_->random.seed(options.seed);
}

Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;
Sampler::~Sampler() = default;

bool Sampler::takes_logits_as_they_come() const {
    const SamplingOptions& options = impl_->options;
    return options.logit_bias.empty() && options.repetition_penalty == 1.0 && options.presence_penalty == 0 &&
           options.frequency_penalty == 0;
}

bool Sampler::takes_the_likeliest() const {
    return impl_->options.temperature < kGreedyBelow && takes_logits_as_they_come();
}

double Sampler::next_uniform(size_t later) {
    while (impl_->ahead.size() <= later) impl_->ahead.push_back(impl_->new_uniform());
    return impl_->ahead[later];
}

void Sampler::skip() {
    (void)impl_->uniform();
}

// The logits with bias, penalties and mask, which most samplers have none of.
std::span<const float> Sampler::Impl::adjust(std::span<const float> logits, const Context& context) {
    const bool repetition = options.repetition_penalty != 1.0;
    const bool counting = options.presence_penalty != 0 || options.frequency_penalty != 0;
    if (options.logit_bias.empty() && !repetition && !counting && context.mask == nullptr) return logits;
    adjusted.assign(logits.begin(), logits.end());
    add_bias(adjusted, options.logit_bias);
    // Ids that the logits do not reach: models have more embeddings than their tokenizer has tokens.
    const auto for_each_counted = [&](std::span<const TokenId> ids, auto&& change) {
        std::unordered_map<TokenId, int> counts;
        for (const TokenId id : ids) ++counts[id];
        for (const auto& [id, count] : counts) {
            if (id >= 0 && static_cast<size_t>(id) < adjusted.size()) change(adjusted[static_cast<size_t>(id)], count);
        }
    };
    if (repetition) {
        const auto penalty = static_cast<float>(options.repetition_penalty);
        for_each_counted(context.tokens,
                         [&](float& logit, int) { logit = logit > 0 ? logit / penalty : logit * penalty; });
    }
    if (counting) {
        for_each_counted(context.generated, [&](float& logit, int count) {
            logit -= static_cast<float>(options.presence_penalty + count * options.frequency_penalty);
        });
    }
    if (context.mask != nullptr) forbid_masked(adjusted, *context.mask);
    return adjusted;
}

TokenId Sampler::sample(std::span<const float> logits, const Context& context) {
    const SamplingOptions& options = impl_->options;
    logits = impl_->adjust(logits, context);
    const float largest = largest_of(logits);
    if (largest == kNever) fail(ErrorCode::kUsage, "logit_bias and mask leave no token to draw");
    if (options.temperature < kGreedyBelow) return argmax(logits);

    const auto temperature = static_cast<float>(options.temperature);
    if (options.top_k == 0 && options.top_p >= 1) {
        impl_->weights.compute(logits, largest, temperature);
        if (options.min_p == 0) {
            return static_cast<TokenId>(impl_->weights.find(impl_->uniform() * impl_->weights.total()));
        }
        return impl_->draw(impl_->above_min_p(logits.size()));
    }
    return impl_->draw(impl_->nucleus(logits, largest, temperature));
}

// Tokens in the order of their ids.
std::vector<Candidate> Sampler::Impl::above_min_p(size_t tokens) const {
    std::vector<Candidate> kept;
    for (size_t i = 0; i < tokens; ++i) {
        if (static_cast<double>(weights[i]) >= options.min_p) {  // the largest weight is 1
            kept.push_back({.id = static_cast<TokenId>(i), .weight = weights[i]});
        }
    }
    return kept;
}

// What top-k, top-p and min-p leave, the largest first.
std::vector<Candidate> Sampler::Impl::nucleus(std::span<const float> logits, float largest, float temperature) {
    size_t count = options.top_k > 0 ? static_cast<size_t>(options.top_k) : kFirstSorted;
    double total = 0;
    if (options.top_k == 0) {
        weights.compute(logits, largest, temperature);
        total = weights.total();
    }
    while (true) {
        count = std::min(count, logits.size());
        std::vector<Candidate> kept = largest_logits(logits, count);
        double sum = 0;
        for (Candidate& c : kept) {
            c.weight = std::exp((c.logit - largest) / temperature);
            sum += static_cast<double>(c.weight);
        }
        if (options.top_k > 0) total = sum;
        // Fewer than asked for: what is ruled out is no candidate however many are asked for.
        const bool complete = options.top_k > 0 || kept.size() < count || count == logits.size();
        if (complete || sum >= options.top_p * total) {
            cut(kept, options.top_p * total);
            return kept;
        }
        count *= 8;
    }
}

// Drops what comes after the running sum has reached `mass`, and what min-p drops; the first stays.
void Sampler::Impl::cut(std::vector<Candidate>& kept, double mass) const {
    double sum = 0;
    size_t size = 0;
    while (size < kept.size() && (size == 0 || (sum < mass && kept[size].weight >= options.min_p))) {
        sum += static_cast<double>(kept[size++].weight);
    }
    kept.resize(size);
}

double Sampler::Impl::uniform() {
    if (ahead.empty()) return new_uniform();
    const double next = ahead.front();
    ahead.pop_front();
    return next;
}

double Sampler::Impl::new_uniform() {
    // 53 random bits: the same stream on every standard library, unlike std::uniform_real_distribution.
    return static_cast<double>(random() >> 11) * 0x1.0p-53;
}

TokenId Sampler::Impl::draw(const std::vector<Candidate>& candidates) {
    double total = 0;
    for (const Candidate& c : candidates) total += static_cast<double>(c.weight);
    double target = uniform() * total;
    for (const Candidate& c : candidates) {
        target -= static_cast<double>(c.weight);
        if (target < 0) return c.id;
    }
    return candidates.back().id;
}

TokenChoice log_probabilities(std::span<const float> logits, TokenId id, size_t top) {
    const float largest = largest_of(logits);
    SoftmaxWeights weights;
    weights.compute(logits, largest, 1.0f);
    const double log_total = std::log(weights.total());
    const auto of = [&](float logit) { return static_cast<float>(static_cast<double>(logit - largest) - log_total); };
    TokenChoice choice{.log_probability = of(logits[static_cast<size_t>(id)]), .top = {}};
    if (top == 0) return choice;
    for (const Candidate& c : largest_logits(logits, std::min(top, logits.size()))) {
        choice.top.push_back({.id = c.id, .log_probability = of(c.logit)});
    }
    return choice;
}

}  // namespace sluice
