#pragma once

// What Qwen3-Next and Qwen3.5 share: gated DeltaNet with gated full attention in every fourth layer, and a shared
// expert behind a gate.

#include "checkpoint/architecture.h"

namespace sluice {

inline constexpr NameRule kQwenHybridNames[] = {
    {Role::kLinearQkv, "linear_attn.in_proj_qkv"},      {Role::kLinearZ, "linear_attn.in_proj_z"},
    {Role::kLinearB, "linear_attn.in_proj_b"},          {Role::kLinearA, "linear_attn.in_proj_a"},
    {Role::kLinearQkvz, "linear_attn.in_proj_qkvz"},    {Role::kLinearBa, "linear_attn.in_proj_ba"},
    {Role::kLinearConv, "linear_attn.conv1d"},          {Role::kLinearALog, "linear_attn.A_log", true},
    {Role::kLinearDtBias, "linear_attn.dt_bias", true}, {Role::kLinearNorm, "linear_attn.norm"},
    {Role::kLinearDecay, "linear_attn.decay", true},    {Role::kLinearOutput, "linear_attn.out_proj"},
    {Role::kSharedGate, "mlp.shared_expert.gate_proj"}, {Role::kSharedUp, "mlp.shared_expert.up_proj"},
    {Role::kSharedDown, "mlp.shared_expert.down_proj"}, {Role::kSharedExpertGate, "mlp.shared_expert_gate"},
};

// And in GGUF.
inline constexpr GgufName kQwenHybridGgufNames[] = {
    {"post_attention_norm", Role::kFeedForwardNorm, GgufShape::kVector},
    {"attn_qkv", Role::kLinearQkv},
    {"attn_gate", Role::kLinearZ},
    {"ssm_beta", Role::kLinearB},
    {"ssm_alpha", Role::kLinearA},
    {"ssm_in", Role::kLinearQkvz},
    {"ssm_ba", Role::kLinearBa},
    {"ssm_conv1d", Role::kLinearConv, GgufShape::kConvolution},
    {"ssm_a", Role::kLinearDecay, GgufShape::kVector, true},
    {"ssm_dt.bias", Role::kLinearDtBias, GgufShape::kVector, true},
    {"ssm_norm", Role::kLinearNorm, GgufShape::kVector},
    {"ssm_out", Role::kLinearOutput},
};

// config.json of a GGUF file.
void write_qwen_hybrid(const GgufHyperparameters& from, nlohmann::json& config);

// Sizes and mixers.
void read_qwen_hybrid_mixers(const JsonFields& fields, ModelConfig& config);
// Of every layer that has experts.
void read_gated_shared_expert(const JsonFields& fields, ModelConfig& config);

}  // namespace sluice
