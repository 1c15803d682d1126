#pragma once

// What DeepSeek-V3 and the families after it share: latent attention, experts chosen by corrected sigmoids beside a
// shared one.

#include "checkpoint/architecture.h"

namespace sluice {

inline constexpr NameRule kDeepseekNames[] = {
    {Role::kQueryLatent, "self_attn.q_a_proj"},
    {Role::kQueryLatentBias, "self_attn.q_a_proj.bias", true},
    {Role::kQueryLatentNorm, "self_attn.q_a_layernorm"},
    {Role::kQueryFromLatent, "self_attn.q_b_proj"},
    {Role::kKeyValueLatent, "self_attn.kv_a_proj_with_mqa"},
    {Role::kKeyValueLatentBias, "self_attn.kv_a_proj_with_mqa.bias", true},
    {Role::kKeyValueLatentNorm, "self_attn.kv_a_layernorm"},
    {Role::kKeyValueFromLatent, "self_attn.kv_b_proj"},
    {Role::kKeyFold, "self_attn.embed_q"},
    {Role::kValueUnfold, "self_attn.unembed_out"},
    {Role::kIndexQuery, "self_attn.indexer.wq_b"},
    {Role::kIndexKey, "self_attn.indexer.wk"},
    {Role::kIndexKeyNorm, "self_attn.indexer.k_norm"},
    {Role::kIndexKeyNormBias, "self_attn.indexer.k_norm.bias", true},
    {Role::kIndexWeights, "self_attn.indexer.weights_proj"},
    {Role::kIndexPoolGate, "self_attn.indexer.index_kpool_compress_gate", true},
    {Role::kIndexPoolOffsets, "self_attn.indexer.index_kpool_compress_ape", true},
    {Role::kRouterCorrection, "mlp.gate.e_score_correction_bias", true},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj"},
    {Role::kSharedUp, "mlp.shared_experts.up_proj"},
    {Role::kSharedDown, "mlp.shared_experts.down_proj"},
};

// Settings that all of them have in one form, and the model's sizes.
void read_deepseek_sizes(const JsonFields& fields, ModelConfig& config);
// Without rotation.
LatentAttentionConfig read_latent_heads(const JsonFields& fields, int64_t least_rope_dim = 2);
LatentAttentionConfig read_latent_attention(const JsonFields& fields, const ModelConfig& config);
// The indexer of a layer that has its own.
IndexerConfig read_indexer(const JsonFields& fields, const LatentAttentionConfig& attention);

}  // namespace sluice
