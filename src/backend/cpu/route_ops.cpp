// Routers: which experts a token goes to.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/floats.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// The `count` largest values (ties: lower index; NaN is the least) in ascending index order.
void select_largest(const float* values, int64_t size, int64_t count, int32_t* out) {
    const auto rank = [&](int32_t i) { return std::isnan(values[i]) ? kLowest : values[i]; };
    // The chosen so far, best first: few of many, so most values only meet the last of them.
    int64_t filled = 0;
    for (int32_t i = 0; i < static_cast<int32_t>(size); ++i) {
        const float value = rank(i);
        if (filled == count && value <= rank(out[count - 1])) continue;
        int64_t place = filled < count ? filled++ : count - 1;
        for (; place > 0 && rank(out[place - 1]) < value; --place) out[place] = out[place - 1];
        out[place] = i;
    }
    std::sort(out, out + count);
}

void choose_weights(const Route& op, const float* scores, const int32_t* ids, float* weights) {
    const int64_t count = op.ids.columns;
    float sum = 0;
    for (int64_t j = 0; j < count; ++j) sum += scores[ids[j]];
    const float divisor = op.normalize ? sum + 1e-20f : 1.0f;
    for (int64_t j = 0; j < count; ++j) weights[j] = scores[ids[j]] / divisor * op.scale;
    if (op.expert_scale.buffer == nullptr) return;
    const float* own_scale = floats(op.expert_scale);
    for (int64_t j = 0; j < count; ++j) weights[j] *= own_scale[ids[j]];
}

// The sum of the two largest.
float group_score(const float* choice, int64_t size) {
    float first = choice[0], second = kLowest;
    for (int64_t i = 1; i < size; ++i) {
        if (choice[i] > first) {
            second = first;
            first = choice[i];
        } else {
            second = std::max(second, choice[i]);
        }
    }
    return size > 1 ? first + second : first;
}

// Choices of groups that are not kept become the least.
void drop_groups(const Route& op, std::vector<float>& choice) {
    static thread_local std::vector<float> group_scores;
    static thread_local std::vector<int32_t> kept;
    const int64_t size = op.logits.columns / op.groups;
    group_scores.resize(static_cast<size_t>(op.groups));
    kept.resize(static_cast<size_t>(op.groups_kept));
    for (int64_t g = 0; g < op.groups; ++g) {
        group_scores[static_cast<size_t>(g)] = group_score(choice.data() + g * size, size);
    }
    select_largest(group_scores.data(), op.groups, op.groups_kept, kept.data());
    for (int64_t g = 0; g < op.groups; ++g) {
        if (std::ranges::find(kept, g) == kept.end()) std::fill_n(choice.begin() + g * size, size, kLowest);
    }
}

void score_row(const KernelTable& kernels, RouterScore score, const float* logits, int64_t experts, float* out) {
    switch (score) {
        case RouterScore::kSoftmax:
            kernels.softmax(logits, experts, out);
            return;
        case RouterScore::kSigmoid:
            kernels.sigmoid(logits, experts, out);
            return;
        case RouterScore::kSqrtSoftplus:
            for (int64_t e = 0; e < experts; ++e) out[e] = std::sqrt(softplus(logits[e]));
            return;
    }
}

}  // namespace

void CpuBackend::compute(const Route& op) {
    const float* logits = floats(op.logits);
    const float* bias = op.bias.buffer == nullptr ? nullptr : floats(op.bias);
    int32_t* ids = writable_ints(op.ids);
    float* weights = writable_floats(op.weights);
    const int64_t experts = op.logits.columns;
    for_rows(op.logits.rows, 16 * experts, [&](int64_t t) {
        static thread_local std::vector<float> scores, choice;
        scores.resize(static_cast<size_t>(experts));
        score_row(kernels_, op.score, logits + t * op.logits.row_stride, experts, scores.data());
        const float* best = scores.data();
        if (!op.plain_choice()) {
            choice = scores;
            for (size_t e = 0; e < choice.size() && bias != nullptr; ++e) choice[e] += bias[e];
            if (op.groups > 1) drop_groups(op, choice);
            best = choice.data();
        }
        int32_t* chosen = ids + t * op.ids.row_stride;
        if (op.table.buffer != nullptr) {
            std::copy_n(named_experts(op, t), op.ids.columns, chosen);
        } else {
            select_largest(best, experts, op.ids.columns, chosen);
        }
        choose_weights(op, scores.data(), chosen, weights + t * op.weights.row_stride);
    });
}

}  // namespace sluice
