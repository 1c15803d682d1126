#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace sluice::cli {

// -log softmax(logits)[target], in double.
double negative_log_likelihood(std::span<const float> logits, size_t target);

// How far two models are apart in what they expect at one position. `reference` and `logits` have a value for each
// token of one vocabulary.
struct LogitDifference {
    double divergence = 0;    // Kullback-Leibler, of softmax(reference) from softmax(logits), in nats; at least 0
    bool same_first = false;  // both find the same token the most likely
};
LogitDifference compare_logits(std::span<const float> reference, std::span<const float> logits);

struct DivergenceSummary {
    double mean = 0, median = 0, percentile_99 = 0, largest = 0;
    double same_first = 0;  // share of the positions
};
// Of at least one position.
DivergenceSummary summarize(const std::vector<LogitDifference>& differences);

}  // namespace sluice::cli
