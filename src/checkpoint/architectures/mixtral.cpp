// Mixtral-8x7B, 8x22B: grouped attention without norms, experts called w1 (gate), w3 (up) and w2 (down).

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"mixtral"};

constexpr NameRule kNames[] = {{Role::kRouter, "block_sparse_moe.gate"}};

void read_mixtral(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    read_sizes(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    attention.query_key_norm = QueryKeyNorm::kNone;
    attention.window = fields.integer_or("sliding_window", 0, 0, config.max_positions);
    MixtureConfig mixture = read_mixture(fields, "intermediate_size", true);
    mixture.routing.normalize = true;  // whatever norm_topk_prob says
    config.layers.assign(config.layers.size(), {.mixer = attention, .feed_forward = mixture});
}

}  // namespace

extern constinit const Architecture mixtral_architecture = {
    .name = "mixtral",
    .model_types = kModelTypes,
    .read = read_mixtral,
    .names = kNames,
    .experts = {.each = "block_sparse_moe.experts.",
                .stacked = "block_sparse_moe.switch_mlp.",
                .projections = {"w1", "w3", "w2"}},
};

}  // namespace sluice
