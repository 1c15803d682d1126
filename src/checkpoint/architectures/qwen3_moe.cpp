// Qwen3-30B-A3B, Qwen3-235B-A22B: grouped attention with a norm per head, softmax routing.

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_moe"};

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

}  // namespace

extern constinit const Architecture qwen3_moe_architecture = {
    .name = "qwen3_moe",
    .model_types = kModelTypes,
    .read = read_qwen3_moe,
};

}  // namespace sluice
