#include <algorithm>
#include <vector>

#include "backend/reference/math.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

namespace {

// Marks the `count` largest of the selectable values, of equal ones the first. A NaN is never larger.
std::vector<bool> choose_largest(const std::vector<float>& values, const std::vector<bool>& selectable, int64_t count) {
    std::vector<bool> chosen(values.size(), false);
    for (int64_t n = 0; n < count; ++n) {
        size_t best = values.size();
        for (size_t i = 0; i < values.size(); ++i) {
            if (!selectable[i] || chosen[i]) continue;
            if (best == values.size() || values[i] > values[best]) best = i;
        }
        chosen[best] = true;
    }
    return chosen;
}

// The sum of the two largest, or of one where there is one.
float group_score(const float* values, int64_t count) {
    std::vector<float> largest(2, -INFINITY);
    for (int64_t i = 0; i < count; ++i) {
        if (values[i] > largest[0]) {
            largest[1] = largest[0];
            largest[0] = values[i];
        } else if (values[i] > largest[1]) {
            largest[1] = values[i];
        }
    }
    return count == 1 ? largest[0] : largest[0] + largest[1];
}

// Writes the chosen experts in ascending order and their weights: value / divisor * scale.
void write_routes(const std::vector<bool>& chosen, const std::vector<double>& values, double divisor, double scale,
                  int32_t* ids, float* weights) {
    for (size_t expert = 0; expert < chosen.size(); ++expert) {
        if (!chosen[expert]) continue;
        *ids++ = static_cast<int32_t>(expert);
        *weights++ = static_cast<float>(values[expert] / divisor * scale);
    }
}

double chosen_sum(const std::vector<bool>& chosen, const std::vector<double>& values) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += chosen[i] ? values[i] : 0.0;
    return sum;
}

}  // namespace

void compute(const RouteSoftmax& op) {
    const auto logits = rows_of(op.logits);
    const auto weights = writable_rows_of(op.weights);
    int32_t* ids = writable_ints(op.ids);
    const auto experts = static_cast<size_t>(op.logits.columns);
    const std::vector<bool> all(experts, true);
    for (int64_t t = 0; t < op.logits.rows; ++t) {
        // Softmax keeps the order of the logits, so the choice needs no rounding.
        const std::vector<float> row(logits[t], logits[t] + experts);
        const std::vector<bool> chosen = choose_largest(row, all, op.ids.columns);
        const double largest = *std::max_element(row.begin(), row.end());
        std::vector<double> p(experts);
        double sum = 0;
        for (size_t e = 0; e < experts; ++e) sum += p[e] = std::exp(row[e] - largest);
        write_routes(chosen, p, op.normalize ? chosen_sum(chosen, p) : sum, 1.0, ids + t * op.ids.row_stride,
                     weights[t]);
    }
}

void compute(const RouteGrouped& op) {
    const auto logits = rows_of(op.logits);
    const auto weights = writable_rows_of(op.weights);
    const float* bias = floats(op.bias);
    int32_t* ids = writable_ints(op.ids);
    const int64_t experts = op.logits.columns;
    const int64_t group_size = experts / op.groups;
    for (int64_t t = 0; t < op.logits.rows; ++t) {
        std::vector<double> score(static_cast<size_t>(experts));
        std::vector<float> choice(static_cast<size_t>(experts));  // float32: the definition's rounding decides ties
        for (size_t e = 0; e < score.size(); ++e) {
            const auto s = static_cast<float>(sigmoid(logits[t][e]));
            score[e] = s;
            choice[e] = s + bias[e];
        }
        std::vector<float> group_scores(static_cast<size_t>(op.groups));
        for (int64_t g = 0; g < op.groups; ++g) {
            group_scores[static_cast<size_t>(g)] = group_score(choice.data() + g * group_size, group_size);
        }
        const std::vector<bool> any_group(group_scores.size(), true);
        const std::vector<bool> kept = choose_largest(group_scores, any_group, op.groups_kept);
        std::vector<bool> selectable(score.size());
        for (size_t e = 0; e < score.size(); ++e) selectable[e] = kept[e / static_cast<size_t>(group_size)];
        const std::vector<bool> chosen = choose_largest(choice, selectable, op.ids.columns);
        const double divisor = op.normalize ? chosen_sum(chosen, score) + 1e-20 : 1.0;
        write_routes(chosen, score, divisor, op.scale, ids + t * op.ids.row_stride, weights[t]);
    }
}

}  // namespace sluice::reference
