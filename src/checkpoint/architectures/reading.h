#pragma once

// What the readers of several architectures share. All throw kInvalidFile or kUnsupported, naming file and field.

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace sluice {

// Far above any model, and small enough that no product of three of them overflows.
inline constexpr int64_t kLargestSize = int64_t{1} << 20;
inline constexpr int64_t kMostLayers = 4096;
inline constexpr int64_t kMostExperts = 1 << 16;

// Settings that change the arithmetic and that an architecture has in one form alone. The first of the supported ones
// is what an absent field means.
void require_string(const JsonFields& fields, std::string_view name, std::initializer_list<std::string_view> supported);
void refuse_true(const JsonFields& fields, std::string_view name);
// Of `hidden_act` or `hidden_activation`; SiLU where both are absent.
ActivationConfig read_activation(const JsonFields& fields);

// Of norms; `fallback` where the field is absent.
double read_epsilon(const JsonFields& fields, std::string_view name, double fallback);

// The model's own sizes, and as many layers as it has, or as there are already where it does not say.
void read_sizes(const JsonFields& fields, ModelConfig& config);

// Heads alone: the rotary settings are left as they are.
GroupedAttentionConfig read_attention_heads(const JsonFields& fields, const ModelConfig& config);
// Heads and rotary settings; `rotary_factor` is the share of a head that is rotated where the config does not say.
GroupedAttentionConfig read_grouped_attention(const JsonFields& fields, const ModelConfig& config,
                                              double rotary_factor = 1.0);

// A word for each layer, one of two: whether it is the first. `name` is where the words are from.
std::vector<bool> read_layer_words(const JsonFields& fields, const ModelConfig& config, std::string_view name,
                                   const std::vector<std::string>& words, std::string_view first,
                                   std::string_view second);

// Whether each layer is "full_attention" in `layer_types`, the alternative being `other` (empty: there is none).
// Nothing where the field is absent.
std::vector<bool> read_full_attention_layers(const JsonFields& fields, const ModelConfig& config,
                                             std::string_view other = {});

DenseMlpConfig read_dense_mlp(const JsonFields& fields);

// Experts of `intermediate_field` inner channels each, chosen by the softmax of all logits.
MixtureConfig read_mixture(const JsonFields& fields, std::string_view intermediate_field, bool normalize_by_default);

// What families call the fields of corrected routing.
struct CorrectedRoutingFields {
    std::string_view groups = "n_group";
    std::string_view shared_experts = "n_shared_experts";
    std::string_view normalize = "norm_topk_prob";
    std::optional<int64_t> default_groups{};  // in all and kept, where the config does not say
    int64_t default_shared_experts = 0;
};

// The same chosen as DeepSeek-V3 does: by corrected sigmoids, in groups, beside shared experts without a gate.
// `default_scale` stands for a routed_scaling_factor that is absent or null; without one that is an error.
MixtureConfig read_corrected_mixture(const JsonFields& fields, std::optional<double> default_scale = std::nullopt,
                                     const CorrectedRoutingFields& names = {});

// The first `first_k_dense_replace` layers are dense, all others hold a corrected mixture.
void read_leading_dense_layers(const JsonFields& fields, ModelConfig& config, const CorrectedRoutingFields& names = {});

// The fields of Kimi Delta Attention, and what they say.
JsonFields delta_attention_fields(const JsonFields& fields);
GatedDeltaNetConfig read_delta_attention(const JsonFields& fields);

// Of an indexer whose heads rotate so many dims.
IndexerConfig read_index_heads(const JsonFields& fields, int64_t rotated);

HyperConnectionConfig read_hyper_connections(const JsonFields& fields);

// Layers that `mlp_only_layers` lists or `decoder_sparse_step` skips are dense, all others hold `mixture`.
void read_sparse_layers(const JsonFields& fields, bool normalize_by_default, ModelConfig& config);

}  // namespace sluice
