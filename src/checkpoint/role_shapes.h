#pragma once

#include <vector>

#include "checkpoint/checkpoint.h"

namespace sluice {

inline constexpr size_t kRoleCount = static_cast<size_t>(Role::kSharedExpertGate) + 1;

// What config.json asks of a role's tensor. A matrix has `leading` dims (their product is its rows) and `columns`; a
// vector has `columns` alone; the convolution has [channels, 1, kernel] or [channels, kernel, 1].
struct RoleShape {
    std::vector<int64_t> leading;
    int64_t columns = 0;
};
RoleShape role_shape(Role role, const ModelConfig& config);

// Norms, biases and the like: kept as plain floats, never quantized.
bool is_vector_role(Role role);

// Norms whose stored weight is an offset to 1 in the publisher's layout of qwen3_next and qwen3_5_moe.
bool is_offset_norm_role(Role role);

// The roles that a mixer or feed-forward of this kind must have, routed experts apart. Two forms of a role set are told
// apart by what the checkpoint stores: fused_linear means kLinearQkvz and kLinearBa, split_latent means kKeyFold and
// kValueUnfold.
std::vector<Role> mixer_roles(const ModelConfig& config, MixerKind kind, bool fused_linear, bool split_latent);
std::vector<Role> feed_forward_roles(const ModelConfig& config, FeedForwardKind kind);

}  // namespace sluice
