// Mixtral-8x7B, 8x22B: grouped attention without norms, experts called w1 (gate), w3 (up) and w2 (down).

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"mixtral"};
constexpr std::string_view kGgufNames[] = {"llama"};

constexpr NameRule kNames[] = {{Role::kRouter, "block_sparse_moe.gate"}};

void read_mixtral(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    read_sizes(fields, config);
    GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    attention.query_key_norm = QueryKeyNorm::kNone;
    attention.rotary.interleaved = fields.boolean_or("rope_interleave", false);
    attention.window = fields.integer_or("sliding_window", 0, 0, config.max_positions);
    MixtureConfig mixture = read_mixture(fields, "intermediate_size", true);
    mixture.routing.normalize = true;  // whatever norm_topk_prob says
    config.layers.assign(config.layers.size(), {.mixer = attention, .feed_forward = mixture});
}

// Without experts it is a Llama. The converter turns the rows of query and key for a rotation of neighbours.
void write_mixtral(const GgufHyperparameters& from, nlohmann::json& config) {
    if (from.integer_or("expert_count", 0) == 0) {
        from.header().reject(ErrorCode::kUnsupported, "general.architecture",
                             "\"llama\" is supported with experts, as Mixtral has them; this file has no {}",
                             from.key("expert_count"));
    }
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    config["intermediate_size"] = expert_intermediate(from);
    config["rope_interleave"] = true;
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
    .gguf = {.architectures = kGgufNames, .write_config = write_mixtral},
};

}  // namespace sluice
