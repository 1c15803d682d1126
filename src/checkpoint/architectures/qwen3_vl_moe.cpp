// Qwen3-VL-30B-A3B, 235B-A22B without their eyes: Qwen3-MoE below `model.language_model.`, fused experts stored in x
// out.

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_vl_moe_text", "qwen3_vl_moe"};

void read_qwen3_vl_moe(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "attention_bias");
    read_sizes(fields, config);
    const GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    for (LayerConfig& layer : config.layers) layer.mixer = attention;
    read_sparse_layers(fields, true, config);
    change_blocks<MixtureConfig>(config, [](MixtureConfig& mixture) {
        mixture.routing.normalize = true;  // whatever norm_topk_prob says
    });
}

}  // namespace

extern constinit const Architecture qwen3_vl_moe_architecture = {
    .name = "qwen3_vl_moe",
    .model_types = kModelTypes,
    .read = read_qwen3_vl_moe,
    .experts = {.floats_transposed = true},
};

}  // namespace sluice
