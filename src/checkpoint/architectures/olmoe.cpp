// OLMoE-1B-7B: norms of query and key over all heads together, softmax routing.

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"olmoe"};

void read_olmoe(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    read_sizes(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    attention.query_key_norm = QueryKeyNorm::kWholeProjection;
    attention.query_key_value_bias = attention.output_bias = fields.boolean_or("attention_bias", false);
    attention.projection_clamp = fields.number_or("clip_qkv", 0);
    const MixtureConfig mixture = read_mixture(fields, "intermediate_size", false);
    config.layers.assign(config.layers.size(), {.mixer = attention, .feed_forward = mixture});
}

}  // namespace

extern constinit const Architecture olmoe_architecture = {
    .name = "olmoe",
    .model_types = kModelTypes,
    .read = read_olmoe,
};

}  // namespace sluice
