// Weights that are exact in BF16, but for the factors of FP8 blocks, times activations rounded to BF16.

#include <algorithm>

#include "backend/cpu/linear.h"

namespace sluice {

namespace {

constexpr size_t kPackedTokens = 3;  // from so many on rows of a weight are decoded once for all
// Rows of activations that meet the factors of blocks at a time: they stay in the second cache.
constexpr size_t kScaledTokens = 128;

// Where weights and activations become what the kernels for many rows of BF16 take.
struct PackedBf16 {
    uint16_t* tile = nullptr;
    uint16_t* blocks = nullptr;

    PackedBf16(const KernelTable& kernels, const WeightView& weight, size_t tokens, Scratch& scratch) {
        if (tokens < kPackedTokens) return;
        tile = scratch.take<uint16_t>(static_cast<size_t>(kBf16TileRows * bf16_row_values(weight.columns)));
        if (kernels.bf16->gather == nullptr) return;
        const int64_t rows = amx_blocks(static_cast<int64_t>(tokens)) * kAmxTokens;
        blocks = scratch.take<uint16_t>(static_cast<size_t>(rows * whole_bf16_units(weight.columns)));
    }
};

// The rows of `weight` times rows of BF16.
void multiply_rounded(const KernelTable& kernels, const WeightView& weight, std::span<const uint16_t* const> x,
                      float* const* out, int64_t first, bool accumulate, const PackedBf16& packed) {
    if (x.size() < kPackedTokens) {
        for (size_t t = 0; t < x.size(); ++t) {
            kernels.bf16->vector(weight, x[t], out[t] + first, accumulate);
        }
        return;
    }
    const Bf16Activations activations{x.data(), static_cast<int64_t>(x.size()), packed.blocks};
    if (kernels.bf16->gather != nullptr) kernels.bf16->gather(activations, weight.columns);
    Bf16Tile tile{};
    tile.values = packed.tile;
    for (int64_t row = 0; row < weight.rows; row += kBf16TileRows) {
        kernels.bf16->pack(weight.rows_at(row, std::min(kBf16TileRows, weight.rows - row)), tile);
        kernels.bf16->matrix(tile, activations, out, first + row, accumulate);
    }
}

void multiply_bf16(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    auto* x = scratch.take<const uint16_t*>(p.x.size());
    std::ranges::transform(p.x, x, [](const std::byte* row) { return reinterpret_cast<const uint16_t*>(row); });
    const PackedBf16 packed(kernels, p.weight, p.x.size(), scratch);
    multiply_rounded(kernels, p.weight, {x, p.x.size()}, p.out, p.first, p.accumulate, packed);
}

// FP8 with a factor per block. Rows of the weight in the same blocks see the same factors, so that the activations can
// be multiplied with them before they are rounded.
void multiply_scaled(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    const WeightView& weight = p.weight;
    const size_t most = std::min(p.x.size(), kScaledTokens);
    const int64_t stride = bf16_row_values(weight.columns);
    auto* rounded = scratch.take<uint16_t>(most * static_cast<size_t>(stride));
    auto* rows = scratch.take<const uint16_t*>(most);
    const PackedBf16 packed(kernels, weight, most, scratch);
    for (size_t t = 0; t < most; ++t) rows[t] = rounded + static_cast<int64_t>(t) * stride;
    int64_t count = 0;
    for (int64_t row = 0; row < weight.rows; row += count) {
        const int64_t left = weight.format.group_rows - (weight.block_row_offset + row) % weight.format.group_rows;
        count = std::min(left, weight.rows - row);
        for (size_t token = 0; token < p.x.size(); token += most) {
            const size_t tokens = std::min(most, p.x.size() - token);
            for (size_t t = 0; t < tokens; ++t) {
                kernels.bf16->round_scaled(weight, row, reinterpret_cast<const float*>(p.x[token + t]),
                                           rounded + static_cast<int64_t>(t) * stride);
            }
            multiply_rounded(kernels, weight.rows_at(row, count), {rows, tokens}, p.out + token, p.first + row,
                             p.accumulate, packed);
        }
    }
}

size_t bf16_row_bytes(const KernelTable&, const ActivationLayout&, int64_t columns) {
    return static_cast<size_t>(bf16_row_values(columns)) * sizeof(uint16_t);
}

void round_row(const KernelTable& kernels, const ActivationLayout&, int64_t, int64_t first, int64_t count,
               const float* x, std::byte* row) {
    kernels.bf16->round(x, count, reinterpret_cast<uint16_t*>(row) + first);
}

bool gathers_blocks(const KernelTable& kernels, const ActivationLayout&, int64_t tokens) {
    return kernels.bf16->gather != nullptr && tokens >= kAmxTokens;
}

}  // namespace

constinit const LinearKernel kBf16Linear = {
    .multiply = multiply_bf16,
    .row_bytes = bf16_row_bytes,
    .prepare = round_row,
    .gathers = gathers_blocks,
};

constinit const LinearKernel kScaledBf16Linear = {.multiply = multiply_scaled, .shares_blocks = true};

}  // namespace sluice
