#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/weight_view.h"

namespace sluice {

// Multi-head latent attention as the papers define it, in host memory: keys and values of every cached position are
// decompressed from kv_b_proj. Slow on purpose; what the folded form of the operations is tested against.
struct NaiveMla {
    std::span<const float> query;        // [rows, heads * (nope + rope)], rotary applied
    std::span<const float> latents;      // [tokens, kv_lora], those of the rows last
    std::span<const float> rotary_keys;  // [tokens, rope]
    WeightView kv_b;                     // [heads * (nope + value), kv_lora]
    int64_t rows = 0, tokens = 0;
    int64_t heads = 0, nope = 0, rope = 0, value = 0;
    double scale = 0;
};

// [rows, heads * value]: what ProjectValue gives, before o_proj.
std::vector<float> naive_mla(const NaiveMla& inputs);

}  // namespace sluice
