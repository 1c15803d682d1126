#include "cli/logit_comparison.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sluice::cli {

namespace {

// log of the sum of exp, in double.
double log_sum(std::span<const float> logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float value : logits) sum += std::exp(static_cast<double>(value) - largest);
    return std::log(sum) + largest;
}

}  // namespace

double negative_log_likelihood(std::span<const float> logits, size_t target) {
    return log_sum(logits) - static_cast<double>(logits[target]);
}

LogitDifference compare_logits(std::span<const float> reference, std::span<const float> logits) {
    const double of_reference = log_sum(reference), of_logits = log_sum(logits);
    double divergence = 0;
    for (size_t i = 0; i < reference.size(); ++i) {
        const double expected = static_cast<double>(reference[i]) - of_reference;
        divergence += std::exp(expected) * (expected - (static_cast<double>(logits[i]) - of_logits));
    }
    const auto first = [](std::span<const float> values) {
        return std::max_element(values.begin(), values.end()) - values.begin();
    };
    // Rounding may leave a little less than nothing.
    return {.divergence = std::max(divergence, 0.0), .same_first = first(reference) == first(logits)};
}

DivergenceSummary summarize(const std::vector<LogitDifference>& differences) {
    std::vector<double> sorted;
    size_t same = 0;
    for (const LogitDifference& difference : differences) {
        sorted.push_back(difference.divergence);
        same += difference.same_first ? 1 : 0;
    }
    std::ranges::sort(sorted);
    const auto count = static_cast<double>(sorted.size());
    const auto at = [&](double share) { return sorted[static_cast<size_t>(share * (count - 1))]; };
    return {.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / count,
            .median = at(0.5),
            .percentile_99 = at(0.99),
            .largest = sorted.back(),
            .same_first = static_cast<double>(same) / count};
}

}  // namespace sluice::cli
