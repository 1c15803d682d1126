// Qwen3.5-397B-A17B, Qwen3.6-35B-A3B: the text model, with experts in every layer.

#include <nlohmann/json.hpp>

#include "checkpoint/architectures/qwen_hybrid.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_5_moe", "qwen3_5_moe_text"};
constexpr std::string_view kGgufNames[] = {"qwen35moe"};

void read_qwen3_5_moe(const JsonFields& fields, ModelConfig& config) {
    read_qwen_hybrid_mixers(fields, config);
    const MixtureConfig mixture = read_mixture(fields, "moe_intermediate_size", true);
    for (LayerConfig& layer : config.layers) layer.feed_forward = mixture;
    read_gated_shared_expert(fields, config);
}

// The converter sorts value heads so that neighbours use different key heads.
void write_qwen3_5_moe(const GgufHyperparameters& from, nlohmann::json& config) {
    write_qwen_hybrid(from, config);
    config["linear_value_heads_tiled"] = true;
}

}  // namespace

extern constinit const Architecture qwen3_5_moe_architecture = {
    .name = "qwen3_5_moe",
    .model_types = kModelTypes,
    .read = read_qwen3_5_moe,
    .names = kQwenHybridNames,
    .norms = NormStorage::kOffset,
    .gguf = {.architectures = kGgufNames, .write_config = write_qwen3_5_moe, .names = kQwenHybridGgufNames},
};

}  // namespace sluice
