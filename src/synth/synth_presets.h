#pragma once

// The shapes that `synth` can write, as the models' publishers describe them.

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace sluice {

// In what the weights of a synthetic checkpoint are stored, which decides whose layout and names it has: MLX's for the
// affine ones, Hugging Face's for the others.
enum class SynthEncoding { kAffine4, kAffine8, kBf16, kFp8 };

struct SynthShape {
    std::string name;         // "qwen3-30b-a3b"
    std::string description;  // one line for a list
    ModelConfig config;
    bool split_latent = false;  // MLX's newer layout of kv_b_proj: embed_q and unembed_out
    int64_t full_attention_interval = 4;
};

const std::vector<SynthShape>& synth_shapes();

// The first `layers` layers of the shape; leading dense layers give way so that one MoE layer is left. Throws kUsage
// when the shape has fewer.
SynthShape cut_layers(const SynthShape& shape, int64_t layers);

// config.json as the publisher of that layout writes it, without any end-of-text token.
std::string synth_config_json(const SynthShape& shape, SynthEncoding encoding);

}  // namespace sluice
