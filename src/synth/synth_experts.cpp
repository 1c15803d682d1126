#include <cmath>

#include "checkpoint/architecture.h"
#include "synth/tensor_planner.h"

namespace sluice {

namespace {

constexpr double kRouterDeviation = 1.5;  // of router logits
constexpr double kExpertAmplitude = 0.6;  // of silu(x) * y for normal x and y

}  // namespace

SynthTensor TensorPlanner::down_projection(int64_t intermediate, double output) const {
    return random_matrix(output / (std::sqrt(static_cast<double>(intermediate)) * kExpertAmplitude));
}

SynthTensor TensorPlanner::values(const DenseMlpConfig& mlp, const WeightSpec& spec) {
    if (spec.role == Role::kDenseDown) return down_projection(mlp.intermediate, step());
    if (spec.role == Role::kDenseGate || spec.role == Role::kDenseUp)
        return random_matrix(unit(), LeadColumns::zeros());
    return plain(spec);
}

SynthTensor TensorPlanner::values(const MixtureConfig& mixture, const WeightSpec& spec) {
    if (spec.role == Role::kRouter) {
        SynthTensor router = random_matrix(kRouterDeviation * unit() * std::sqrt(1 - kConstantShare));
        router.keep_float = spec.precision == Precision::kPublished;
        router.eight_bits = spec.precision == Precision::kEightBits;
        return router;
    }
    if (spec.role == Role::kRouterTable) {  // a token's experts differ
        std::vector<float> experts;
        for (int64_t row = 0; row < spec.rows(); ++row) {
            const auto first = static_cast<int64_t>(random_() % static_cast<uint64_t>(mixture.experts));
            for (int64_t i = 0; i < spec.columns; ++i) {
                experts.push_back(static_cast<float>((first + i * (mixture.experts / spec.columns)) % mixture.experts));
            }
        }
        return vector(std::move(experts), DType::kI32);
    }
    if (spec.role == Role::kRouterCorrection) {
        std::vector<float> correction(static_cast<size_t>(spec.columns));
        for (float& value : correction) value = static_cast<float>(jitter(0.02) - 1);
        return vector(std::move(correction), DType::kF32);
    }
    return shared_expert(mixture, spec);
}

SynthTensor TensorPlanner::shared_expert(const MixtureConfig& mixture, const WeightSpec& spec) {
    const double gate = mixture.shared_expert_gated ? 2 : 1;  // its sigmoid halves what the expert adds
    switch (spec.role) {
        case Role::kSharedGate:
        case Role::kSharedUp:
            return random_matrix(unit(), LeadColumns::zeros());
        case Role::kSharedDown:
            return down_projection(mixture.shared_intermediate, gate * step() * std::sqrt(0.3));
        case Role::kSharedExpertGate: {
            SynthTensor projection = random_matrix(unit(), LeadColumns::zeros());
            projection.eight_bits = true;
            return projection;
        }
        default:
            return plain(spec);
    }
}

void TensorPlanner::plan_experts(const std::string& path, const MixtureConfig& mixture) {
    // Weights that add up to the scaling factor, spread over the chosen experts.
    const double spread = std::sqrt(1.2 / static_cast<double>(mixture.experts_per_token));
    const double output = step() * std::sqrt(0.7) / (spread * mixture.routing.scale);
    const ExpertNames& names = config_.architecture->experts;
    if (mlx_)
        return plan_expert(path + std::string(names.stacked), names.stacked_projections, {mixture.experts}, mixture,
                           output);
    const std::string each = path + std::string(names.each);
    if (layout_.fused_experts) return plan_fused_experts(each, mixture, output);
    for (int64_t expert = 0; expert < mixture.experts; ++expert) {
        plan_expert(each + std::to_string(expert) + ".", names.projections, {}, mixture, output);
    }
}

// Gate, up and down of one expert, or of as many as `leading` says in each tensor.
void TensorPlanner::plan_expert(const std::string& path, const std::array<std::string_view, 3>& projections,
                                std::vector<int64_t> leading, const MixtureConfig& mixture, double output) {
    const auto put = [&](std::string_view name, int64_t rows, int64_t columns, SynthTensor tensor) {
        tensor.name = path + std::string(name);
        tensor.shape = leading;
        tensor.shape.insert(tensor.shape.end(), {rows, columns});
        tensors_.push_back(std::move(tensor));
    };
    const int64_t inner = mixture.intermediate, width = mixture.width(config_.hidden_size);
    if (mixture.activation.gated()) put(projections[0], inner, width, random_matrix(unit(), LeadColumns::zeros()));
    put(projections[1], inner, width, random_matrix(unit(), LeadColumns::zeros()));
    put(projections[2], width, inner, down_projection(inner, output));
}

void TensorPlanner::plan_fused_experts(const std::string& path, const MixtureConfig& mixture, double output) {
    const int64_t inner = mixture.intermediate;
    SynthTensor gate_up = random_matrix(unit(), LeadColumns::zeros());
    gate_up.name = path + "gate_up_proj";
    gate_up.full_name = true;
    gate_up.shape = {mixture.experts, 2 * inner, config_.hidden_size};
    tensors_.push_back(std::move(gate_up));
    SynthTensor down = down_projection(inner, output);
    down.name = path + "down_proj";
    down.full_name = true;
    down.shape = {mixture.experts, config_.hidden_size, inner};
    tensors_.push_back(std::move(down));
}

}  // namespace sluice
