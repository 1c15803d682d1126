#pragma once

// Every operation of the forward pass, as a struct of named fields. T is the number of rows of a batch: the new tokens
// of all its sequences, one after the other. All activations are F32. Formulas stand in the comments of the structs.
// kName is what errors and profiles call the operation.

#include <variant>

#include "backend/operations/attention.h"
#include "backend/operations/drawing.h"
#include "backend/operations/experts.h"
#include "backend/operations/gated_streams.h"
#include "backend/operations/pooling.h"
#include "backend/operations/recurrent.h"
#include "backend/operations/rows.h"
#include "backend/operations/selection.h"
#include "backend/operations/streams.h"

namespace sluice {

// The one list of them: the variant, and what each backend of the host declares, follow.
#define SLUICE_OPERATIONS(X)  \
    X(Embed)                  \
    X(RmsNorm)                \
    X(Linear)                 \
    X(Rotary)                 \
    X(SplitQueryGate)         \
    X(SigmoidGate)            \
    X(AddGated)               \
    X(GatherRows)             \
    X(ArgMax)                 \
    X(DrawToken)              \
    X(AppendKeyValue)         \
    X(Attention)              \
    X(AppendLatent)           \
    X(LatentAttention)        \
    X(SplitLinearProjections) \
    X(CausalConvolution)      \
    X(GatedDeltaRule)         \
    X(GatedRmsNorm)           \
    X(Route)                  \
    X(GatedMlp)               \
    X(CombineExperts)         \
    X(Scale)                  \
    X(ScaleByPosition)        \
    X(RoutedMlp)              \
    X(FetchExperts)           \
    X(WeighRows)              \
    X(LayerNorm)              \
    X(AppendRows)             \
    X(SelectTokens)           \
    X(SharedKeyAttention)     \
    X(SelectiveScan)          \
    X(PoolTokens)             \
    X(ConnectStreams)         \
    X(WeighStreams)           \
    X(MixStreams)             \
    X(Gate)                   \
    X(AverageGatedStreams)    \
    X(MatchStreams)

template <typename, typename... Listed>
using VariantOf = std::variant<Listed...>;
#define SLUICE_LISTED(Op) , Op
using Operation = VariantOf<void SLUICE_OPERATIONS(SLUICE_LISTED)>;
#undef SLUICE_LISTED

}  // namespace sluice
