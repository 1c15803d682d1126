#include <algorithm>
#include <vector>

#include "backend/host_sequences.h"
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

// Writes the chosen experts in ascending order and their weights: value / divisor * the scales.
void write_routes(const Route& op, const std::vector<bool>& chosen, const std::vector<double>& values, double divisor,
                  int32_t* ids, float* weights) {
    const float* own_scale = op.expert_scale.buffer == nullptr ? nullptr : floats(op.expert_scale);
    for (size_t expert = 0; expert < chosen.size(); ++expert) {
        if (!chosen[expert]) continue;
        *ids++ = static_cast<int32_t>(expert);
        *weights++ =
            static_cast<float>(values[expert] / divisor * op.scale * (own_scale == nullptr ? 1.0f : own_scale[expert]));
    }
}

double chosen_sum(const std::vector<bool>& chosen, const std::vector<double>& values) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += chosen[i] ? values[i] : 0.0;
    return sum;
}

// Scores of a row, before they are divided by `whole`: softmax keeps the quotient for last.
struct Scores {
    std::vector<double> values;
    double whole = 1;
};

Scores score_row(RouterScore score, const float* logits, size_t experts) {
    Scores scores{.values = std::vector<double>(experts)};
    if (score == RouterScore::kSoftmax) {
        const double largest = *std::max_element(logits, logits + experts);
        scores.whole = 0;
        for (size_t e = 0; e < experts; ++e) scores.whole += scores.values[e] = std::exp(logits[e] - largest);
        return scores;
    }
    for (size_t e = 0; e < experts; ++e) {
        const double value = score == RouterScore::kSigmoid ? sigmoid(logits[e]) : std::sqrt(softplus(logits[e]));
        scores.values[e] = static_cast<float>(value);  // float32: the definition's rounding decides ties
    }
    return scores;
}

std::vector<bool> selectable_experts(const Route& op, const std::vector<float>& choice) {
    const int64_t group_size = op.logits.columns / op.groups;
    std::vector<float> group_scores(static_cast<size_t>(op.groups));
    for (int64_t g = 0; g < op.groups; ++g) {
        group_scores[static_cast<size_t>(g)] = group_score(choice.data() + g * group_size, group_size);
    }
    const std::vector<bool> kept =
        choose_largest(group_scores, std::vector<bool>(group_scores.size(), true), op.groups_kept);
    std::vector<bool> selectable(choice.size());
    for (size_t e = 0; e < choice.size(); ++e) selectable[e] = kept[e / static_cast<size_t>(group_size)];
    return selectable;
}

// Those of the table, which may name one twice.
void write_named(const Route& op, int64_t row, const Scores& scores, int32_t* ids, float* weights) {
    const float* own_scale = op.expert_scale.buffer == nullptr ? nullptr : floats(op.expert_scale);
    const int32_t* named = named_experts(op, row);
    double sum = 1e-20;
    for (int64_t j = 0; j < op.ids.columns; ++j) sum += scores.values[static_cast<size_t>(named[j])];
    for (int64_t j = 0; j < op.ids.columns; ++j) {
        const double value = scores.values[static_cast<size_t>(named[j])] / (op.normalize ? sum : scores.whole);
        ids[j] = named[j];
        weights[j] = static_cast<float>(value * op.scale * (own_scale == nullptr ? 1.0f : own_scale[named[j]]));
    }
}

}  // namespace

void compute(const Route& op) {
    const auto logits = rows_of(op.logits);
    const auto weights = writable_rows_of(op.weights);
    const float* bias = op.bias.buffer == nullptr ? nullptr : floats(op.bias);
    int32_t* ids = writable_ints(op.ids);
    const auto experts = static_cast<size_t>(op.logits.columns);
    for (int64_t t = 0; t < op.logits.rows; ++t) {
        const Scores scores = score_row(op.score, logits[t], experts);
        if (op.table.buffer != nullptr) {
            write_named(op, t, scores, ids + t * op.ids.row_stride, weights[t]);
            continue;
        }
        // Softmax keeps the order of the logits, so that the choice needs no rounding.
        std::vector<float> choice(logits[t], logits[t] + experts);
        const bool by_logits = op.score == RouterScore::kSoftmax && op.plain_choice();
        for (size_t e = 0; e < experts && !by_logits; ++e) {
            choice[e] = static_cast<float>(scores.values[e] / scores.whole) + (bias == nullptr ? 0 : bias[e]);
        }
        const std::vector<bool> chosen = choose_largest(choice, selectable_experts(op, choice), op.ids.columns);
        const double divisor = op.normalize ? chosen_sum(chosen, scores.values) + 1e-20 : scores.whole;
        write_routes(op, chosen, scores.values, divisor, ids + t * op.ids.row_stride, weights[t]);
    }
}

}  // namespace sluice::reference
