#pragma once

// The weights of each block, from which resolving, loading, inspecting, packing and synthesizing all follow.

#include <cstdint>
#include <vector>

#include "checkpoint/model_config.h"
#include "checkpoint/role.h"

namespace sluice {

enum class WeightShape : uint8_t {
    kMatrix,       // [leading..., columns]: the product of `leading` is its rows
    kVector,       // [leading..., columns]: kept as plain floats, never quantized
    kNorm,         // a vector that publishers may store as an offset to 1
    kNumbers,      // [leading..., columns] of whole numbers: I64 or I32
    kConvolution,  // a vector of [channels, 1, taps] or [channels, taps, 1], `leading` being the channels
};

// How far a quantized copy of a matrix may go.
enum class Precision : uint8_t {
    kAny,
    kEightBits,  // a small matrix whose errors choose experts, or live on in a recurrent state
    kPublished,  // as it was published
};

// A weight that config.json asks for.
struct WeightSpec {
    Role role{};
    WeightShape shape = WeightShape::kMatrix;
    std::vector<int64_t> leading{};
    int64_t columns = 0;
    Precision precision = Precision::kAny;

    int64_t rows() const;  // 1 where nothing leads
    bool is_matrix() const { return shape == WeightShape::kMatrix; }
    uint64_t plain_bytes() const;  // as published where it is no matrix
};

// Of what the feed-forward block reads: a layer of one block has one norm.
inline Role norm_before_feed_forward(const LayerConfig& layer) {
    return layer.mixes() ? Role::kFeedForwardNorm : Role::kMixerNorm;
}

// Of a hyper-connection.
struct ConnectionRoles {
    Role function, base, scale;
};
inline constexpr ConnectionRoles kMixerConnectionRoles = {Role::kMixerConnection, Role::kMixerConnectionBase,
                                                          Role::kMixerConnectionScale};
inline constexpr ConnectionRoles kFeedForwardConnectionRoles = {
    Role::kFeedForwardConnection, Role::kFeedForwardConnectionBase, Role::kFeedForwardConnectionScale};
inline constexpr ConnectionRoles kEndConnectionRoles = {Role::kEndConnection, Role::kEndConnectionBase,
                                                        Role::kEndConnectionScale};

// Of gated streams; the end has no inject.
struct StreamsRoles {
    Role norm, down, up, inject;
};
inline constexpr StreamsRoles kMixerStreamsRoles = {Role::kMixerStreamsNorm, Role::kMixerStreamsDown,
                                                    Role::kMixerStreamsUp, Role::kMixerStreamsInject};
inline constexpr StreamsRoles kFeedForwardStreamsRoles = {Role::kFeedForwardStreamsNorm, Role::kFeedForwardStreamsDown,
                                                          Role::kFeedForwardStreamsUp, Role::kFeedForwardStreamsInject};
inline constexpr StreamsRoles kEndStreamsRoles = {Role::kEndStreamsNorm, Role::kEndStreamsDown, Role::kEndStreamsUp,
                                                  Role{}};

// The embedding, the final norm, and the head unless it is the embedding.
std::vector<WeightSpec> model_weights(const ModelConfig& config);

// Of the mixer with its norms, in the order in which they are used.
std::vector<WeightSpec> mixer_weights(const ModelConfig& config, const LayerConfig& layer);

// Of the feed-forward block with its norms, routed experts apart.
std::vector<WeightSpec> feed_forward_weights(const ModelConfig& config, const LayerConfig& layer);

// Both.
std::vector<WeightSpec> layer_weights(const ModelConfig& config, const LayerConfig& layer);

}  // namespace sluice
