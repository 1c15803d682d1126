#pragma once

#include <cstdint>

namespace sluice {

// What a tensor of the trunk does, whatever its publisher calls it. Shapes: weights.h.
enum class Role : uint8_t {
    // Of no layer (kNoLayer).
    kEmbedding,
    kFinalNorm,
    kHead,
    kEndConnection,  // from all streams to weights of their sum, which the head reads; offsets and factors beside it
    kEndConnectionBase,
    kEndConnectionScale,
    kEndStreamsNorm,  // of gated streams: their norm, and what leads through a few channels to the gates
    kEndStreamsDown,
    kEndStreamsUp,
    // Of every layer.
    kMixerNorm,  // and of a layer that has a feed-forward block alone
    kFeedForwardNorm,
    kMixerPostNorm,  // of what the mixer adds
    kFeedForwardPostNorm,
    kLayerScale,       // a factor of the residual after the layer
    kMixerConnection,  // from all streams to how a block reads them and adds to them
    kMixerConnectionBase,
    kMixerConnectionScale,
    kFeedForwardConnection,
    kFeedForwardConnectionBase,
    kFeedForwardConnectionScale,
    kMixerStreamsNorm,  // likewise before a block, and the gates of what it adds
    kMixerStreamsDown,
    kMixerStreamsUp,
    kMixerStreamsInject,
    kFeedForwardStreamsNorm,
    kFeedForwardStreamsDown,
    kFeedForwardStreamsUp,
    kFeedForwardStreamsInject,
    // Of n-grams: projections of a token's rows, norms of what meets and of what is convolved, and, stored as integers,
    // the hash. Rows are no weights: see RowTableSource.
    kNGramKey,
    kNGramValue,
    kNGramKeyNorm,
    kNGramQueryNorm,
    kNGramConvNorm,
    kNGramConv,
    kNGramMultipliers,
    kNGramHeadRows,
    kNGramHeadOffsets,
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
    kHeadGate,
    // Gated DeltaNet, with separate projections or with those fused and interleaved by key head.
    kLinearQkv,
    kLinearZ,
    kLinearB,
    kLinearA,
    kLinearQkvz,
    kLinearBa,
    kLinearConv,
    kLinearALog,
    kLinearDecay,  // -exp(A_log), stored in its place
    kLinearDtBias,
    kLinearNorm,
    kLinearOutput,
    kQueryConv,  // where query, key and value have their own; kQuery, kKey, kValue and kOutput project
    kKeyConv,
    kValueConv,
    kLinearDecayDown,  // decays and output gate through a few channels
    kLinearDecayUp,
    kLinearGateDown,
    kLinearGateUp,
    // Mamba-2, beside those of gated DeltaNet.
    kScanInput,  // z, x, B, C and dt, one after the other
    kScanSkip,
    kLinearConvBias,
    // Latent attention; kKeyFold and kValueUnfold are the two halves of kKeyValueFromLatent, stored apart.
    kQueryLatent,
    kQueryLatentBias,
    kQueryLatentNorm,
    kQueryFromLatent,
    kKeyValueLatent,
    kKeyValueLatentBias,
    kKeyValueLatentNorm,
    kKeyValueFromLatent,
    kKeyFold,
    kValueUnfold,
    // What chooses the tokens that latent attention sees.
    kIndexQuery,  // from the query's latent
    kIndexKey,
    kIndexQueryKey,  // of all heads' queries and then the key, where both read hidden channels
    kIndexQueryNorm,
    kIndexKeyNorm,
    kIndexKeyNormBias,
    kIndexWeights,      // of the heads
    kIndexPoolGate,     // how much each channel of a token's key counts in its pool
    kIndexPoolOffsets,  // of that, by place in the pool
    // Compressed attention, beside those of the query's latent; likewise of its indexer, whose keys are runs' alone.
    kSharedKey,
    kSharedKeyNorm,
    kOutputGroups,  // of groups of heads, before the output
    kRunKey,        // what a token gives to the key of its run
    kRunGate,       // how much each channel of that counts
    kRunOffsets,    // of that, by place in the run
    kRunNorm,
    kIndexRunKey,
    kIndexRunGate,
    kIndexRunOffsets,
    kIndexRunNorm,
    // Feed-forward blocks; the matrices of routed experts have no role.
    kDenseGate,
    kDenseUp,
    kDenseDown,
    kDenseGateBias,
    kDenseUpBias,
    kDenseDownBias,
    kRouter,
    kRouterBias,        // a part of the logits
    kRouterCorrection,  // added to an expert's score when experts are chosen
    kRouterTable,       // the experts of each token of the vocabulary
    kSharedGate,
    kSharedUp,
    kSharedDown,
    kSharedExpertGate,
    kRouterNorm,  // of what the router reads, where it has a norm of its own; likewise the next three
    kExpertsNorm,
    kExpertsPostNorm,
    kSharedPostNorm,
    kExpertsInput,  // projections to what routed experts read and from what they give, where it is no hidden state
    kExpertsOutput,
    kExpertScale,  // factors of the experts' weights
    // Small parts of the routed experts, which stay with the trunk: a row for each. Gate and up apart, or in one
    // tensor.
    kExpertGateBias,
    kExpertUpBias,
    kExpertGateUpBias,
    kExpertDownBias,
};

inline constexpr int kNoLayer = -1;

}  // namespace sluice
