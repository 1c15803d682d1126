#pragma once

// Every operation of the forward pass, as a struct of named fields. T is the number of rows of a batch: the new tokens
// of all its sequences, one after the other. All activations are F32. Formulas stand in the comments of the structs.
// kName is what errors and profiles call the operation.

#include <variant>

#include "backend/operations/attention.h"
#include "backend/operations/experts.h"
#include "backend/operations/recurrent.h"
#include "backend/operations/rows.h"

namespace sluice {

using Operation = std::variant<Embed, RmsNorm, Linear, Rotary, SplitQueryGate, SigmoidGate, AddGated, GatherRows,
                               AppendKeyValue, Attention, AppendLatent, LatentAttention, SplitLinearProjections,
                               CausalConvolution, GatedDeltaRule, GatedRmsNorm, Route, GatedMlp, CombineExperts>;

}  // namespace sluice
