// Qwen3-30B-A3B, Qwen3-235B-A22B: grouped attention with a norm per head, softmax routing.

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_moe"};
constexpr std::string_view kGgufNames[] = {"qwen3moe"};

void read_qwen3_moe(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    require_string(fields, "scoring_func", {"softmax"});
    refuse_true(fields, "attention_bias");
    refuse_true(fields, "use_sliding_window");
    read_sizes(fields, config);
    read_full_attention_layers(fields, config);
    const GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    for (LayerConfig& layer : config.layers) layer.mixer = attention;
    read_sparse_layers(fields, false, config);
}

// Every layer has experts, and weights are normalized, in every such file.
void write_qwen3_moe(const GgufHyperparameters& from, nlohmann::json& config) {
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_experts(from, config);
    from.require_number("expert_weights_scale", 1.0);
    config["moe_intermediate_size"] = expert_intermediate(from);
    config["norm_topk_prob"] = true;
}

}  // namespace

extern constinit const Architecture qwen3_moe_architecture = {
    .name = "qwen3_moe",
    .model_types = kModelTypes,
    .read = read_qwen3_moe,
    .gguf = {.architectures = kGgufNames, .write_config = write_qwen3_moe},
};

}  // namespace sluice
