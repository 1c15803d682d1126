#pragma once

// Rows of a weight times rows of activations, from any format: what Linear, GatedMlp and the MLA projections
// share.

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/scratch.h"
#include "base/thread_pool.h"

namespace sluice {

// How int8 activations must be laid out to meet a weight: its bits decide the order, its group the scales.
struct QuantizedLayout {
    int bits = 0;
    int group = 0;

    bool operator==(const QuantizedLayout&) const = default;
};

inline QuantizedLayout quantized_layout(const WeightView& weight) {
    return {weight.format.bits, weight.format.group_size};
}

// int8 rows in memory of somebody else.
struct QuantizedRows {
    QuantizedLayout layout;
    int64_t columns = 0, stride = 0, groups = 0;
    int8_t* values = nullptr;
    float* scales = nullptr;
    float* sums = nullptr;

    static size_t bytes(const KernelTable& kernels, QuantizedLayout layout, int64_t rows, int64_t columns);
    // Takes its memory from `scratch`, and zeroes what pads the rows.
    QuantizedRows(const KernelTable& kernels, QuantizedLayout layout, int64_t rows, int64_t columns,
                  Scratch& scratch);

    QuantizedRow row(int64_t r) const {
        return {values + r * stride, scales + r * groups, sums + r * groups};
    }
    // Columns [first, first + count) of row r: whole groups.
    void set(const KernelTable& kernels, int64_t r, int64_t first, int64_t count, const float* x) const {
        kernels.quantize(x, first, count, layout.bits, layout.group, values + r * stride, scales + r * groups,
                         sums + r * groups);
    }
};

// Rows of activations, one of the two.
struct LinearInput {
    std::span<const QuantizedRow> quantized;
    std::span<const float* const> floats;

    size_t tokens() const { return quantized.empty() ? floats.size() : quantized.size(); }
    LinearInput part(size_t first, size_t count) const {
        if (quantized.empty()) return {{}, floats.subspan(first, count)};
        return {quantized.subspan(first, count), {}};
    }
};

// Scratch bytes that multiply_rows takes.
size_t multiply_rows_scratch(const KernelTable& kernels, const WeightView& weight, size_t tokens);

// out[t][first + r] = weight row r . x[t], for the rows of `weight`; added with `accumulate`. `next`, if any,
// is the weight that this thread will probably multiply after this one.
void multiply_rows(const KernelTable& kernels, const WeightView& weight, const LinearInput& x,
                   float* const* out, int64_t first, bool accumulate, Scratch& scratch,
                   const WeightView* next = nullptr);

// The size of a piece of `count` equal tasks: a few per thread, each at least `smallest`.
size_t piece_size(const ThreadPool& pool, int64_t count, int64_t smallest = 1);

}  // namespace sluice
