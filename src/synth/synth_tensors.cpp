#include "synth/synth_tensors.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "checkpoint/architecture.h"
#include "synth/tensor_planner.h"

namespace sluice {

namespace {

constexpr double kLeadValue = 4.0;      // of the constant, relative to an embedding's elements
constexpr double kHeadDeviation = 2.5;  // of logits

}  // namespace

std::vector<SynthTensor> TensorPlanner::plan() {
    for (const WeightSpec& spec : model_weights(config_)) {
        if (spec.role != Role::kEmbedding) continue;
        add(prefix_, spec, random_matrix(1.0, LeadColumns::constant(static_cast<float>(kLeadValue))));
    }
    for (int layer = 0; layer < config_.layer_count(); ++layer) plan_layer(layer);
    for (const WeightSpec& spec : model_weights(config_)) {
        if (add_connection(prefix_, spec, energy(config_.layer_count(), 0), 0)) continue;
        if (spec.role == Role::kEndConnection || spec.role == Role::kEndConnectionBase ||
            spec.role == Role::kEndConnectionScale) {
            add(prefix_, spec, plain(spec));
        }
        if (spec.role == Role::kFinalNorm) add(prefix_, spec, stream_norm(energy(config_.layer_count(), 0), 0));
        if (spec.role == Role::kHead) {
            add(mlx_ ? std::string(layout_.mlx_outer_prefix) : "", spec,
                random_matrix(kHeadDeviation / std::sqrt(free_columns()), LeadColumns::zeros()));
        }
    }
    return std::move(tensors_);
}

SynthTensor TensorPlanner::random_matrix(double deviation, LeadColumns lead) {
    SynthTensor tensor;
    tensor.deviation = static_cast<float>(deviation);
    tensor.lead = std::move(lead);
    return tensor;
}

SynthTensor TensorPlanner::vector(std::vector<float> values, DType dtype) {
    SynthTensor tensor;
    tensor.dtype = dtype;
    tensor.values = std::move(values);
    return tensor;
}

SynthTensor TensorPlanner::stream_norm(double free_energy, double share) {
    const double lead_energy = kLeadColumns * kLeadValue * kLeadValue;
    const double root =
        std::sqrt((free_columns() * free_energy + lead_energy) / static_cast<double>(config_.hidden_size));
    const double lead = std::sqrt(share / (1 - share) * free_columns() / kLeadColumns);
    std::vector<float> weights(static_cast<size_t>(config_.hidden_size));
    for (size_t i = 0; i < weights.size(); ++i) {
        const bool in_lead = i < static_cast<size_t>(kLeadColumns);
        const double weight = in_lead ? lead * root / kLeadValue : root / std::sqrt(free_energy);
        weights[i] = static_cast<float>(weight * jitter(0.05) - offset(WeightShape::kNorm));
    }
    return vector(std::move(weights));
}

void TensorPlanner::add(const std::string& path, const WeightSpec& spec, SynthTensor tensor) {
    const ModuleName module = names_.module(spec.role);
    tensor.name = path + std::string(module.module);
    if (!spec.is_matrix() && !module.bare) tensor.name += ".weight";
    if (spec.is_matrix() && module.bare) tensor.full_name = tensor.keep_float = true;
    tensor.shape = spec.leading;
    tensor.shape.push_back(spec.columns);
    if (spec.shape == WeightShape::kConvolution) tensor.shape.insert(tensor.shape.begin() + (mlx_ ? 2 : 1), 1);
    tensors_.push_back(std::move(tensor));
}

void TensorPlanner::plan_layer(int layer) {
    const std::string path = layer_path(prefix_, layer);
    const LayerConfig& block = config_.layers[static_cast<size_t>(layer)];
    const double mixed = layer == 0 ? std::sqrt(kDriftEnergy) : step();
    for (const WeightSpec& spec : mixer_weights(config_, block)) {
        if (add_connection(path, spec, energy(layer, 0), 0.5) || add_ngrams(path, spec, block.ngrams)) continue;
        add(path, spec,
            spec.role == Role::kMixerNorm
                ? stream_norm(energy(layer, 0), 0.5)
                : std::visit([&](const auto& mixer) { return values(mixer, spec, mixed); }, block.mixer));
    }
    bool experts_wait = std::holds_alternative<MixtureConfig>(block.feed_forward);
    for (const WeightSpec& spec : feed_forward_weights(config_, block)) {
        if (experts_wait && spec.role == Role::kSharedGate) {
            plan_experts(path, *config_.mixture_of(layer));
            experts_wait = false;
        }
        if (add_connection(path, spec, energy(layer, 1), kConstantShare)) continue;
        add(path, spec,
            spec.role == Role::kFeedForwardNorm
                ? stream_norm(energy(layer, 1), kConstantShare)
                : std::visit([&](const auto& mlp) { return values(mlp, spec); }, block.feed_forward));
    }
    if (experts_wait) plan_experts(path, *config_.mixture_of(layer));
}

SynthTensor TensorPlanner::plain(const WeightSpec& spec) {
    if (spec.is_matrix()) return random_matrix(1 / std::sqrt(static_cast<double>(spec.columns)));
    if (spec.shape == WeightShape::kNorm) return norm(spec, 1);
    const bool factor = spec.role == Role::kLayerScale || spec.role == Role::kExpertScale;
    const double middle = factor ? 1 : spec.shape == WeightShape::kConvolution ? 0.5 : 0;
    std::vector<float> values(static_cast<size_t>(spec.rows() * spec.columns));
    for (float& value : values) value = static_cast<float>(middle + jitter(0.1) - 1);
    return vector(std::move(values));
}

bool TensorPlanner::add_connection(const std::string& path, const WeightSpec& spec, double free_energy, double share) {
    constexpr double kGate = 0.5, kSmall = 0.1;
    switch (spec.role) {
        case Role::kMixerStreamsNorm:
        case Role::kFeedForwardStreamsNorm:
        case Role::kEndStreamsNorm: {
            const SynthTensor one = stream_norm(free_energy, share);
            SynthTensor all = one;
            all.values.clear();
            for (const float value : one.values) {
                const double stored = offset(spec.shape);
                all.values.push_back(static_cast<float>((value + stored) / kGate - stored));
            }
            const std::vector<float> first = all.values;
            for (int64_t s = 1; s < config_.streams(); ++s) {
                all.values.insert(all.values.end(), first.begin(), first.end());
            }
            add(path, spec, std::move(all));
            return true;
        }
        case Role::kMixerStreamsDown:
        case Role::kFeedForwardStreamsDown:
        case Role::kEndStreamsDown:
            add(path, spec, plain(spec));
            return true;
        case Role::kMixerStreamsUp:
        case Role::kFeedForwardStreamsUp:
        case Role::kEndStreamsUp:
        case Role::kMixerStreamsInject:
        case Role::kFeedForwardStreamsInject: {
            SynthTensor matrix = random_matrix(kSmall / std::sqrt(static_cast<double>(spec.columns)));
            matrix.eight_bits = spec.role == Role::kFeedForwardStreamsInject;
            add(path, spec, std::move(matrix));
            return true;
        }
        default:
            return false;
    }
}

bool TensorPlanner::add_ngrams(const std::string& path, const WeightSpec& spec, const NGramConfig& ngrams) {
    switch (spec.role) {
        case Role::kNGramKey: {
            const int64_t rows = (ngrams.table_rows + ngrams.parts - 1) / ngrams.parts;
            for (int64_t part = 0; part * rows < ngrams.table_rows; ++part) {
                SynthTensor table = random_matrix(1);
                table.name = fmt::format("{}{}.shard_{}", path, config_.architecture->row_table, part);
                table.shape = {std::min(rows, ngrams.table_rows - part * rows), ngrams.row_dim};
                table.keep_float = table.hole = true;
                tensors_.push_back(std::move(table));
            }
            [[fallthrough]];
        }
        case Role::kNGramValue:
        case Role::kNGramKeyNorm:
        case Role::kNGramQueryNorm:
        case Role::kNGramConvNorm:
        case Role::kNGramConv:
            add(path, spec, plain(spec));
            return true;
        default:
            return false;
    }
}

float LeadColumns::value(int64_t row) const {
    const int64_t phase = row % period;
    for (const Band& band : bands) {
        if (phase >= band.begin && phase < band.end) return band.value;
    }
    return 0;
}

int64_t SynthTensor::rows() const {
    return std::accumulate(shape.begin(), shape.end() - 1, int64_t{1}, std::multiplies<>());
}

std::vector<SynthTensor> synth_tensors(const SynthShape& shape, SynthEncoding encoding, uint64_t seed) {
    return TensorPlanner(shape, encoding, seed).plan();
}

}  // namespace sluice
