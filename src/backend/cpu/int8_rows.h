#pragma once

// Rows of activations in int8 as affine weights and FP4 take them: the bytes, the scale of each group, and scale times
// sum.

#include <algorithm>
#include <cstring>

#include "backend/cpu/linear.h"

namespace sluice {

inline int64_t int8_value_bytes(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns) {
    return static_cast<int64_t>(round_up(static_cast<uint64_t>(kernels.quantized_bytes(columns, layout.bits)), 64));
}

inline size_t int8_row_bytes(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns) {
    const auto groups = static_cast<size_t>(columns / layout.group);
    return static_cast<size_t>(int8_value_bytes(kernels, layout, columns)) + Scratch::padded<float>(2 * groups);
}

// The parts of a row that lies at `row`.
struct Int8Row {
    int8_t* values;
    float *scales, *sums;

    Int8Row(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns, std::byte* row)
        : values(reinterpret_cast<int8_t*>(row)),
          scales(reinterpret_cast<float*>(row + int8_value_bytes(kernels, layout, columns))),
          sums(scales + columns / layout.group) {}
};

inline void quantize_int8_row(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns,
                              int64_t first, int64_t count, const float* x, std::byte* row) {
    const Int8Row parts(kernels, layout, columns, row);
    // Padding may lie between the columns of the last unit.
    const int64_t unit = kernels.quantized_bytes(1, layout.bits), past = (first + count) % unit;
    if (past != 0) std::memset(parts.values + first + count - past, 0, static_cast<size_t>(unit));
    kernels.quantize(x, first, count, layout.bits, layout.group, parts.values, parts.scales, parts.sums);
}

inline const QuantizedRow* quantized_rows(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    auto* x = scratch.take<QuantizedRow>(p.x.size());
    std::ranges::transform(p.x, x, [&](const std::byte* row) {
        const Int8Row parts(kernels, p.layout, p.columns, const_cast<std::byte*>(row));
        return QuantizedRow{parts.values, parts.scales, parts.sums};
    });
    return x;
}

}  // namespace sluice
