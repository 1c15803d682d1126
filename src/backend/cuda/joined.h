#pragma once

// Operations of a step that one kernel, or two, make: the same numbers as one after the other. Each of these returns
// false, and does nothing, where the operations are not as its kernel needs them: of one row, but for those that say
// more.

#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/products.h"
#include "backend/operations.h"

namespace sluice::cuda {

inline bool same_place(const Tensor& a, const Tensor& b) {
    return a.buffer == b.buffer && a.offset == b.offset;
}

// How products of one row meet a weight: in affine 4 bits on tensor cores, in 8 bits in F32.
bool in_four_bits(const WeightFormat& format);
bool in_eight_bits(const WeightFormat& format);

// Products of a row that is normed for them, and the convolution of what they make; or one product of a row.
struct NormedProducts {
    const RmsNorm* norm;  // null: none
    std::vector<const Linear*> products;
    const CausalConvolution* convolution;  // null: none
};
bool compute_joined(Device& device, const NormedProducts& joined);

// The delta rule, and the norm of what it gives.
struct NormedDelta {
    const GatedDeltaRule* rule;
    const GatedRmsNorm* norm;
};
bool compute_joined(Device& device, const NormedDelta& joined);

// Queries and keys of heads, normed and given their positions, and the cache that takes keys and values: of sequences
// of a row each.
struct HeadsStep {
    const SplitQueryGate* split;  // of queries and gates; null: none
    const RmsNorm *query_norm, *key_norm;
    const Rotary *query_rotary, *key_rotary;
    const AppendKeyValue* append;
};
bool compute_joined(Device& device, const HeadsStep& joined);

// Attention, and the gate of what it gives, of any rows.
struct GatedAttention {
    const Attention* attention;
    const SigmoidGate* gate;
};
bool compute_joined(Device& device, const GatedAttention& joined);

// A choice of experts, what they and a shared one make of a row, and their sum.
struct ExpertsStep {
    const Route* route;
    const GatedMlp* shared;  // null: none
    const RoutedMlp* experts;
    const CombineExperts* combine;
    const AddGated* added;  // of the shared one
};
bool compute_joined(Device& device, const ExpertsStep& joined);
// Of up to kMostStepRows rows; the experts of the rows alone.
bool compute_joined_rows(Device& device, const ExpertsStep& joined);
bool multiply_experts_of_rows(Device& device, const RoutedMlp& op);

}  // namespace sluice::cuda
