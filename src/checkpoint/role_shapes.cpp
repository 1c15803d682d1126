#include "checkpoint/role_shapes.h"

namespace sluice {

RoleShape role_shape(Role role, const ModelConfig& c) {
    const int64_t hidden = c.hidden_size;
    const int64_t key_width = c.linear_key_heads * c.linear_key_dim;
    const int64_t value_width = c.linear_value_heads * c.linear_value_dim;
    const int64_t query_head = c.qk_nope_head_dim + c.qk_rope_head_dim;
    const bool latent = c.kv_lora_rank > 0;
    switch (role) {
        case Role::kEmbedding:
        case Role::kHead:
            return {{c.vocabulary}, hidden};
        case Role::kFinalNorm:
        case Role::kMixerNorm:
        case Role::kFeedForwardNorm:
            return {{}, hidden};
        case Role::kQuery:
            return {{c.heads * (latent ? query_head : c.head_dim * (c.gated_attention ? 2 : 1))}, hidden};
        case Role::kKey:
        case Role::kValue:
            return {{c.kv_heads * c.head_dim}, hidden};
        case Role::kOutput:
            return {{hidden}, c.heads * (latent ? c.v_head_dim : c.head_dim)};
        case Role::kQueryNorm:
        case Role::kKeyNorm:
            return {{}, c.head_dim};
        case Role::kLinearQkv:
            return {{2 * key_width + value_width}, hidden};
        case Role::kLinearZ:
            return {{value_width}, hidden};
        case Role::kLinearB:
        case Role::kLinearA:
            return {{c.linear_value_heads}, hidden};
        case Role::kLinearQkvz:
            return {{2 * (key_width + value_width)}, hidden};
        case Role::kLinearBa:
            return {{2 * c.linear_value_heads}, hidden};
        case Role::kLinearConv:
            return {{2 * key_width + value_width}, c.linear_conv_kernel};
        case Role::kLinearALog:
        case Role::kLinearDtBias:
            return {{}, c.linear_value_heads};
        case Role::kLinearNorm:
            return {{}, c.linear_value_dim};
        case Role::kLinearOutput:
            return {{hidden}, value_width};
        case Role::kQueryLatent:
            return {{c.q_lora_rank}, hidden};
        case Role::kQueryLatentNorm:
            return {{}, c.q_lora_rank};
        case Role::kQueryFromLatent:
            return {{c.heads * query_head}, c.q_lora_rank};
        case Role::kKeyValueLatent:
            return {{c.kv_lora_rank + c.qk_rope_head_dim}, hidden};
        case Role::kKeyValueLatentNorm:
            return {{}, c.kv_lora_rank};
        case Role::kKeyValueFromLatent:
            return {{c.heads * (c.qk_nope_head_dim + c.v_head_dim)}, c.kv_lora_rank};
        case Role::kKeyFold:
            return {{c.heads, c.kv_lora_rank}, c.qk_nope_head_dim};
        case Role::kValueUnfold:
            return {{c.heads, c.v_head_dim}, c.kv_lora_rank};
        case Role::kRouter:
            return {{c.experts}, hidden};
        case Role::kRouterBias:
            return {{}, c.experts};
        case Role::kDenseGate:
        case Role::kDenseUp:
            return {{c.dense_intermediate}, hidden};
        case Role::kDenseDown:
            return {{hidden}, c.dense_intermediate};
        case Role::kSharedGate:
        case Role::kSharedUp:
            return {{c.shared_intermediate}, hidden};
        case Role::kSharedDown:
            return {{hidden}, c.shared_intermediate};
        case Role::kSharedExpertGate:
            return {{1}, hidden};
    }
    return {};
}

bool is_vector_role(Role role) {
    switch (role) {
        case Role::kLinearConv:
        case Role::kLinearALog:
        case Role::kLinearDtBias:
        case Role::kLinearNorm:
        case Role::kQueryLatentNorm:
        case Role::kKeyValueLatentNorm:
        case Role::kRouterBias:
            return true;
        default:
            return is_offset_norm_role(role);
    }
}

bool is_offset_norm_role(Role role) {
    switch (role) {
        case Role::kFinalNorm:
        case Role::kMixerNorm:
        case Role::kFeedForwardNorm:
        case Role::kQueryNorm:
        case Role::kKeyNorm:
            return true;
        default:
            return false;
    }
}

std::vector<Role> mixer_roles(const ModelConfig& config, MixerKind kind, bool fused_linear, bool split_latent) {
    std::vector<Role> roles = {Role::kMixerNorm};
    const auto add = [&roles](std::initializer_list<Role> more) {
        for (const Role role : more) roles.push_back(role);
    };
    switch (kind) {
        case MixerKind::kFullAttention:
            add({Role::kQuery, Role::kKey, Role::kValue, Role::kOutput, Role::kQueryNorm, Role::kKeyNorm});
            break;
        case MixerKind::kGatedDeltaNet:
            add({Role::kLinearConv, Role::kLinearALog, Role::kLinearDtBias, Role::kLinearNorm, Role::kLinearOutput});
            if (fused_linear) {
                add({Role::kLinearQkvz, Role::kLinearBa});
            } else {
                add({Role::kLinearQkv, Role::kLinearZ, Role::kLinearB, Role::kLinearA});
            }
            break;
        case MixerKind::kMultiLatentAttention:
            add({Role::kKeyValueLatent, Role::kKeyValueLatentNorm, Role::kOutput});
            if (config.q_lora_rank > 0) {
                add({Role::kQueryLatent, Role::kQueryLatentNorm, Role::kQueryFromLatent});
            } else {
                add({Role::kQuery});
            }
            if (split_latent) {
                add({Role::kKeyFold, Role::kValueUnfold});
            } else {
                add({Role::kKeyValueFromLatent});
            }
            break;
    }
    return roles;
}

std::vector<Role> feed_forward_roles(const ModelConfig& config, FeedForwardKind kind) {
    std::vector<Role> roles = {Role::kFeedForwardNorm};
    const auto add = [&roles](std::initializer_list<Role> more) {
        for (const Role role : more) roles.push_back(role);
    };
    if (kind == FeedForwardKind::kDense) {
        add({Role::kDenseGate, Role::kDenseUp, Role::kDenseDown});
        return roles;
    }
    add({Role::kRouter});
    if (config.noaux_tc) add({Role::kRouterBias});
    if (config.shared_intermediate > 0) add({Role::kSharedGate, Role::kSharedUp, Role::kSharedDown});
    if (config.shared_expert_gated) add({Role::kSharedExpertGate});
    return roles;
}

}  // namespace sluice
