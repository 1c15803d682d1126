#include <algorithm>

#include "backend/cpu/cpu_backend.h"

namespace sluice {

namespace {

constexpr int64_t kBlock = 128;  // values whose sigmoids are held at once

// gate = gate * sigmoid(argument(gate)) * factor(up).
template <typename Argument, typename Factor>
void gate_by_sigmoid(const KernelTable& kernels, const float* up, int64_t count, float* gate, Argument&& argument,
                     Factor&& factor) {
    float sigmoids[kBlock];
    for (int64_t first = 0; first < count; first += kBlock) {
        const int64_t block = std::min(kBlock, count - first);
        for (int64_t i = 0; i < block; ++i) sigmoids[i] = argument(gate[first + i]);
        kernels.sigmoid(sigmoids, block, sigmoids);
        for (int64_t i = 0; i < block; ++i) gate[first + i] *= sigmoids[i] * factor(up[first + i]);
    }
}

}  // namespace

void CpuBackend::activate(const Activation& activation, const float* up, int64_t count, float* gate) const {
    switch (activation.kind) {
        case ActivationKind::kSilu:
            kernels_.silu_multiply(gate, up, count, gate);
            return;
        case ActivationKind::kGeluTanh: {
            // (1 + tanh(z)) / 2 = sigmoid(2 z).
            constexpr float kTwiceRootOfTwoOverPi = 1.5957691216057308f;
            const auto argument = [](float x) { return kTwiceRootOfTwoOverPi * (x + 0.044715f * x * x * x); };
            gate_by_sigmoid(kernels_, up, count, gate, argument, [](float u) { return u; });
            return;
        }
        case ActivationKind::kSquaredRelu:
            for (int64_t i = 0; i < count; ++i) {
                const float positive = std::max(up[i], 0.0f);
                gate[i] = positive * positive;
            }
            return;
        case ActivationKind::kCutSilu: {
            const float limit = activation.limit;
            float sigmoids[kBlock];
            for (int64_t first = 0; first < count; first += kBlock) {
                const int64_t block = std::min(kBlock, count - first);
                kernels_.sigmoid(gate + first, block, sigmoids);
                for (int64_t i = 0; i < block; ++i) {
                    const float cut = std::min(gate[first + i] * sigmoids[i], limit);
                    gate[first + i] = cut * std::clamp(up[first + i], -limit, limit);
                }
            }
            return;
        }
        case ActivationKind::kClampedSwiglu: {
            const float limit = activation.limit, alpha = activation.alpha, offset = activation.up_offset;
            for (int64_t i = 0; i < count; ++i) gate[i] = std::min(gate[i], limit);
            gate_by_sigmoid(
                kernels_, up, count, gate, [=](float g) { return alpha * g; },
                [=](float u) { return std::clamp(u, -limit, limit) + offset; });
            return;
        }
    }
}

}  // namespace sluice
