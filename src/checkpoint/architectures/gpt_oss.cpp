// gpt-oss-20b, 120b: windows in every other layer, sinks, biases everywhere, a clamped activation. Rows of gate and up
// take turns as published, in MXFP4 or, transposed, in BF16; MLX stores them apart.

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"gpt_oss"};
constexpr std::string_view kGgufArchitectures[] = {"gpt-oss"};

constexpr GgufName kGgufNames[] = {
    {"post_attention_norm", Role::kFeedForwardNorm, GgufShape::kVector},
    {"attn_sinks", Role::kSinks, GgufShape::kVector},
};

constexpr NameRule kNames[] = {
    {Role::kSinks, "self_attn.sinks", true},
    {Role::kRouter, "mlp.router"},
    {Role::kRouterBias, "mlp.router.bias", true},
    {Role::kExpertGateBias, "mlp.experts.gate_proj.bias", true},
    {Role::kExpertUpBias, "mlp.experts.up_proj.bias", true},
    {Role::kExpertDownBias, "mlp.experts.down_proj.bias", true},
};

// The activation's constants, which the config does not name.
constexpr double kAlpha = 1.702, kUpOffset = 1;

void read_gpt_oss(const JsonFields& fields, ModelConfig& config) {
    read_sizes(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    attention.query_key_norm = QueryKeyNorm::kNone;
    attention.query_key_value_bias = attention.output_bias = fields.boolean_or("attention_bias", true);
    attention.sinks = true;
    MixtureConfig mixture = read_mixture(fields, "intermediate_size", true);
    mixture.activation.limit = fields.number_or("swiglu_limit", 7.0);
    mixture.activation.alpha = kAlpha;
    mixture.activation.up_offset = kUpOffset;
    // The softmax over the chosen experts alone is that over all, divided by the sum of the chosen.
    mixture.routing.normalize = true;
    mixture.router_bias = mixture.expert_bias = true;
    const int64_t window = fields.integer_or("sliding_window", 128, 1, config.max_positions);
    std::vector<bool> full = read_full_attention_layers(fields, config, "sliding_attention");
    for (size_t layer = full.size(); layer < config.layers.size(); ++layer) full.push_back(layer % 2 == 1);
    for (size_t layer = 0; layer < config.layers.size(); ++layer) {
        attention.window = full[layer] ? 0 : window;
        config.layers[layer] = {.mixer = attention, .feed_forward = mixture};
    }
}

// Windows are in every other layer, from the first on.
void write_gpt_oss(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    config["intermediate_size"] = expert_intermediate(from);
    config["sliding_window"] = from.integer("attention.sliding_window");
}

}  // namespace

extern constinit const Architecture gpt_oss_architecture = {
    .name = "gpt_oss",
    .model_types = kModelTypes,
    .read = read_gpt_oss,
    .names = kNames,
    .experts = {.each = "mlp.experts.", .stacked = "mlp.experts.", .alternating = true, .floats_transposed = true},
    .gguf = {.architectures = kGgufArchitectures, .write_config = write_gpt_oss, .names = kGgufNames},
};

}  // namespace sluice
