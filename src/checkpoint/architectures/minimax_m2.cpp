// MiniMax-M2 to M2.7: norms of query and key over all heads together, part of each head rotated, corrected routing.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"minimax_m2", "minimax"};
constexpr std::string_view kGgufArchitectures[] = {"minimax-m2"};

constexpr NameRule kNames[] = {
    {Role::kRouter, "block_sparse_moe.gate"},
    {Role::kRouterCorrection, "block_sparse_moe.e_score_correction_bias", true},
};

void read_minimax_m2(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "attention_bias");
    require_string(fields, "scoring_func", {"sigmoid"});
    require_string(fields, "qk_norm_type", {"per_layer"});
    if (fields.integer_or("shared_intermediate_size", 0, 0, kLargestSize) != 0) {
        fields.reject(ErrorCode::kUnsupported, "shared_intermediate_size", "a shared expert is not supported");
    }
    if (std::ranges::any_of(fields.integers("attn_type_list"), [](int64_t type) { return type != 1; })) {
        fields.reject(ErrorCode::kUnsupported, "attn_type_list", "only 1, full attention, is supported");
    }
    read_sizes(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    const bool normed = fields.boolean_or("use_qk_norm", true);
    attention.query_key_norm = normed ? QueryKeyNorm::kWholeProjection : QueryKeyNorm::kNone;
    const int64_t rotated = fields.integer_or("rotary_dim", attention.rotary.dims, 2, attention.head_dim);
    if (rotated % 2 != 0) fields.reject(ErrorCode::kInvalidFile, "rotary_dim", "{} is odd", rotated);
    attention.rotary = read_rotary(fields, rotated, config.max_positions);
    MixtureConfig mixture = read_mixture(fields, "intermediate_size", true);
    mixture.routing = {.score = Routing::Score::kSigmoid,
                       .corrected = fields.boolean_or("use_routing_bias", true),
                       .normalize = true};  // whatever norm_topk_prob says
    config.layers.assign(config.layers.size(), {.mixer = attention, .feed_forward = mixture});
}

void write_minimax_m2(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    from.require_number("expert_gating_func", 2);
    from.require_number("expert_weights_scale", 1.0);
    config["intermediate_size"] = expert_intermediate(from);
    config["rotary_dim"] = from.integer_or("rope.dimension_count", config["head_dim"].get<int64_t>());
}

}  // namespace

extern constinit const Architecture minimax_m2_architecture = {
    .name = "minimax_m2",
    .model_types = kModelTypes,
    .read = read_minimax_m2,
    .names = kNames,
    .experts = {.each = "block_sparse_moe.experts.",
                .stacked = "block_sparse_moe.switch_mlp.",
                .projections = {"w1", "w3", "w2"}},
    .gguf = {.architectures = kGgufArchitectures, .write_config = write_minimax_m2},
};

}  // namespace sluice
