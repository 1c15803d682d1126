#pragma once

#include "backend/latent_forms.h"
#include "backend/operations.h"

// Every operation in plain loops, float32 in memory, sums in double so that the order of adding does not show. Shapes
// were checked by Backend::run; buffers are host buffers.
namespace sluice::reference {

void compute(const Embed& op);  // throws kUsage for an id outside of the table
void compute(const RmsNorm& op);
void compute(const Linear& op);
void compute(const Rotary& op);
void compute(const SplitQueryGate& op);
void compute(const AppendKeyValue& op);
void compute(const Attention& op);
void compute(const SigmoidGate& op);
void compute(const SplitLinearProjections& op);
void compute(const CausalConvolution& op);
void compute(const GatedDeltaRule& op);
void compute(const GatedRmsNorm& op);
void compute(const Route& op);
void compute(const GatedMlp& op);
void compute(const CombineExperts& op);
void compute(const AddGated& op);
void compute(const GatherRows& op);
void compute(const AppendLatent& op);
void compute(const LatentAttention& op);

// Forms of LatentAttention.
void compute(const FoldQuery& form);
void compute(const AttendLatents& form);
void compute(const AccumulateLatentTile& form);
void compute(const FinalizeLatentTiles& form);
void compute(const ProjectValue& form);
void compute(const ExpandedLatentAttention& form);

}  // namespace sluice::reference
