#pragma once

#include <cstdint>

namespace sluice {

// What a tensor of the trunk does, whatever its publisher calls it. Shapes: weights.h.
enum class Role : uint8_t {
    // Of no layer (kNoLayer).
    kEmbedding,
    kFinalNorm,
    kHead,
    // Of every layer.
    kMixerNorm,
    kFeedForwardNorm,
    kMixerPostNorm,  // of what the mixer adds
    kFeedForwardPostNorm,
    // Grouped attention; kQuery and kOutput of latent attention, too.
    kQuery,
    kKey,
    kValue,
    kOutput,
    kQueryBias,
    kKeyBias,
    kValueBias,
    kOutputBias,
    kQueryNorm,
    kKeyNorm,
    kSinks,
    // Gated DeltaNet, with separate projections or with those fused and interleaved by key head.
    kLinearQkv,
    kLinearZ,
    kLinearB,
    kLinearA,
    kLinearQkvz,
    kLinearBa,
    kLinearConv,
    kLinearALog,
    kLinearDtBias,
    kLinearNorm,
    kLinearOutput,
    // Latent attention; kKeyFold and kValueUnfold are the two halves of kKeyValueFromLatent, stored apart.
    kQueryLatent,
    kQueryLatentNorm,
    kQueryFromLatent,
    kKeyValueLatent,
    kKeyValueLatentNorm,
    kKeyValueFromLatent,
    kKeyFold,
    kValueUnfold,
    // Feed-forward blocks, routed experts apart.
    kDenseGate,
    kDenseUp,
    kDenseDown,
    kRouter,
    kRouterCorrection,  // added to an expert's score when experts are chosen
    kSharedGate,
    kSharedUp,
    kSharedDown,
    kSharedExpertGate,
};

inline constexpr int kNoLayer = -1;

}  // namespace sluice
