#include "tests/support/tiny_shapes.h"

#include <algorithm>
#include <stdexcept>

namespace sluice::testing {

SynthShape tiny_shape(const std::string& preset, int64_t layers) {
    const auto& shapes = synth_shapes();
    const auto found = std::ranges::find(shapes, preset, &SynthShape::name);
    if (found == shapes.end()) throw std::invalid_argument("no preset " + preset);
    SynthShape shape = cut_layers(*found, layers);
    ModelConfig& config = shape.config;
    config.hidden_size = 192;
    config.vocabulary = 512;
    config.experts = 16;
    config.experts_per_token = 4;
    config.expert_groups = std::min<int64_t>(config.expert_groups, 4);
    config.expert_groups_kept = std::min<int64_t>(config.expert_groups_kept, 2);
    config.expert_intermediate = 64;
    if (config.dense_intermediate > 0) config.dense_intermediate = 128;
    if (config.shared_intermediate > 0) config.shared_intermediate = 64;
    config.heads = 4;
    config.kv_heads = config.kv_lora_rank > 0 ? 4 : 2;
    config.q_lora_rank = std::min<int64_t>(config.q_lora_rank, 128);
    config.kv_lora_rank = std::min<int64_t>(config.kv_lora_rank, 128);
    config.linear_key_heads = std::min<int64_t>(config.linear_key_heads, 2);
    config.linear_value_heads = std::min<int64_t>(config.linear_value_heads, 4);
    return shape;
}

std::vector<std::string> files_in(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
}

}  // namespace sluice::testing
