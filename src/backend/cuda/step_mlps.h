#pragma once

// What the kernels of a step's experts ask of the operations that they join.

#include "backend/cuda/joined.h"

namespace sluice::cuda {

inline bool alike(const Activation& a, const Activation& b) {
    return a.kind == b.kind && a.alpha == b.alpha && a.limit == b.limit && a.up_offset == b.up_offset;
}

inline bool has_no_bias(const MlpGroup& mlp) {
    return mlp.gate_bias.buffer == nullptr && mlp.up_bias.buffer == nullptr && mlp.down_bias.buffer == nullptr;
}

// In 4 bits, and of the sizes of `first`.
inline bool takes_sizes(const MlpGroup& mlp, const MlpGroup& first) {
    const auto alike_in_four_bits = [](const Weight& a, const Weight& b) {
        return in_four_bits(a.format) && a.format == b.format && a.rows == b.rows && a.columns == b.columns;
    };
    return has_no_bias(mlp) && alike_in_four_bits(mlp.gate, first.up) && alike_in_four_bits(mlp.up, first.up) &&
           alike_in_four_bits(mlp.down, first.down);
}

}  // namespace sluice::cuda
