// OLMoE-1B-7B: norms of query and key over all heads together, softmax routing.

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"olmoe"};
constexpr std::string_view kGgufNames[] = {"olmoe"};

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

// Weights are taken as they are in every such file.
void write_olmoe(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    config["intermediate_size"] = expert_intermediate(from);
    config["norm_topk_prob"] = false;
    config["clip_qkv"] = from.number_or("attention.clamp_kqv", 0.0);
}

}  // namespace

extern constinit const Architecture olmoe_architecture = {
    .name = "olmoe",
    .model_types = kModelTypes,
    .read = read_olmoe,
    .gguf = {.architectures = kGgufNames, .write_config = write_olmoe},
};

}  // namespace sluice
