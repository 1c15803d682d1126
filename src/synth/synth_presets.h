#pragma once

// The shapes that `synth` can write, as the models' publishers describe them.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_config.h"

namespace sluice {

// In what the weights of a synthetic checkpoint are stored, which decides whose layout and names it has: MLX's for the
// affine ones, Hugging Face's for the others.
enum class SynthEncoding { kAffine4, kAffine8, kBf16, kFp8 };

struct SynthShape;

// How the publisher of a family writes its checkpoints, and MLX after it.
struct SynthLayout {
    std::string_view class_name;
    nlohmann::ordered_json (*settings)(const SynthShape& shape);  // of config.json
    std::string_view prefix = "model.", mlx_prefix = "model.";
    std::string_view mlx_outer_prefix = "";  // of what stands beside the model: the head
    bool fused_experts = false;              // published with gate and up of all experts in one tensor
    bool mlx_splits_key_value = false;       // the projection from the latent in two tensors
    bool fp8 = false;                        // published in FP8
};

extern const SynthLayout kQwen3MoeLayout, kQwen3NextLayout, kQwen35Layout, kDeepseekLayout, kKimiLayout,
    kQwen4ExpLayout;

struct SynthShape {
    std::string name;         // "qwen3-30b-a3b"
    std::string description;  // one line for a list
    const SynthLayout* layout = nullptr;
    ModelConfig config;
    int64_t dense_intermediate = 0;  // as config.json says, whether a layer is dense or not
    int64_t full_attention_interval = 4;
    std::optional<GroupedAttentionConfig> cut_attention{};  // as config.json says, where all its layers were cut off
    std::string published{};                                // config.json, where the shape is read from one
};

// All presets. Any other shape is what a published config.json says: published_shape.h.
const std::vector<SynthShape>& synth_shapes();

// The first `layers` layers of the shape; leading dense layers give way so that one MoE layer is left. Throws kUsage
// when the shape has fewer.
SynthShape cut_layers(const SynthShape& shape, int64_t layers);

// config.json as the publisher of that layout writes it, without any end-of-text token.
std::string synth_config_json(const SynthShape& shape, SynthEncoding encoding);

}  // namespace sluice
