// Activations in float, where they are: exact, and for every format.

#include <algorithm>

#include "backend/cpu/linear.h"
#include "base/error.h"

namespace sluice {

namespace {

// Rows that are decoded at a time for many rows of activations; they stay in the second cache.
constexpr int64_t kDecodedRows = 32;
constexpr int64_t kDecodedTokens = 2;  // from so many on

void multiply_floats(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    const WeightView& weight = p.weight;
    if (weight.tiled) fail(ErrorCode::kUsage, "a weight in tiles meets activations in float: give it row after row");
    auto* x = scratch.take<const float*>(p.x.size());
    std::ranges::transform(p.x, x, [](const std::byte* row) { return reinterpret_cast<const float*>(row); });
    if (p.tokens() < kDecodedTokens) {
        for (int64_t t = 0; t < p.tokens(); ++t) {
            kernels.float_vector(weight, x[t], p.out[t] + p.first, p.accumulate);
        }
        return;
    }
    const DecodeColumns decode = kernels.of(weight.format).decode;
    auto* tile = scratch.take<float>(static_cast<size_t>(kDecodedRows * weight.columns));
    for (int64_t row = 0; row < weight.rows; row += kDecodedRows) {
        const int64_t rows = std::min(kDecodedRows, weight.rows - row);
        for (int64_t r = 0; r < rows; ++r) {
            decode(weight, row + r, 0, weight.columns, tile + r * weight.columns);
        }
        kernels.float_matrix(tile, weight.columns, rows, weight.columns, x, p.tokens(), p.out, p.first + row,
                             p.accumulate);
    }
}

}  // namespace

constinit const LinearKernel kFloatLinear = {.multiply = multiply_floats};

}  // namespace sluice
