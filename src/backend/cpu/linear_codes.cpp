// FP4 and FP8 codes whose factors lie apart. They are multiplied in tiles; rows that stand one after the other are put
// in a tile first, so that both give the same bits.

#include <algorithm>
#include <cstring>
#include <utility>

#include "backend/cpu/int8_rows.h"
#include "tensor/row_tiles.h"

namespace sluice {

namespace {

// Tokens at a time: their rows stay in the second cache while tiles pass by.
constexpr int64_t kCodeTokens = 48;

// Up to kTileRows rows as a tile, its last row again where there are fewer; columns to whole dwords, of zeros.
class TileOfRows {
  public:
    TileOfRows(const WeightView& weight, Scratch& scratch)
        : format_(weight.format),
          columns_(static_cast<int64_t>(round_up(static_cast<uint64_t>(weight.columns), kTileDwordBytes))),
          row_bytes_(format_.data_row_bytes(weight.columns)),
          whole_row_bytes_(format_.data_row_bytes(columns_)),
          scale_bytes_(format_.scale_row_bytes(columns_)),
          shared_(format_.group_rows > 1),
          rows_(take(scratch)),
          tile_(take(scratch)) {}

    WeightView of(const WeightView& part) const {
        const bool whole = part.rows == kTileRows && whole_row_bytes_ == row_bytes_;
        WeightView tile = whole ? part : filled(part);
        tile_rows(tile, {.data = tile_.data, .scales = shared_ ? nullptr : tile_.scales});
        tile.data = tile_.data;
        if (!shared_) tile.scales = tile_.scales;
        tile.tiled = true;
        return tile;
    }

  private:
    EncodedRows take(Scratch& scratch) const {
        return {scratch.take<std::byte>(kTileRows * whole_row_bytes_),
                scratch.take<std::byte>(kTileRows * scale_bytes_)};
    }
    WeightView filled(const WeightView& part) const {
        for (uint64_t r = 0; r < kTileRows; ++r) {
            const uint64_t from = std::min(r, static_cast<uint64_t>(part.rows) - 1);
            std::byte* const row = rows_.data + r * whole_row_bytes_;
            std::memcpy(row, part.data + from * row_bytes_, row_bytes_);
            std::memset(row + row_bytes_, 0, whole_row_bytes_ - row_bytes_);
            if (!shared_) std::memcpy(rows_.scales + r * scale_bytes_, part.scales + from * scale_bytes_, scale_bytes_);
        }
        if (shared_) {
            const uint64_t there = format_.scale_bytes(part.block_row_offset + part.rows, part.columns);
            std::memset(rows_.scales, 0, kTileRows * scale_bytes_);
            std::memcpy(rows_.scales, part.scales, there);
        }
        WeightView rows = part;
        rows.rows = kTileRows;
        rows.columns = columns_;
        rows.data = rows_.data;
        rows.scales = rows_.scales;
        return rows;
    }

    const WeightFormat& format_;
    int64_t columns_;
    uint64_t row_bytes_, whole_row_bytes_, scale_bytes_;
    bool shared_;  // scales, by rows: they stay where they are
    EncodedRows rows_, tile_;
};

// multiply(tiles, out, first, next), whichever way the rows stand.
template <typename Multiply>
void multiply_in_tiles(const LinearProduct& p, float* const* out, int64_t tokens, Scratch& scratch,
                       Multiply&& multiply) {
    const WeightView& weight = p.weight;
    if (weight.tiled) return multiply(weight, out, p.first, p.accumulate, p.next);
    const TileOfRows tiles(weight, scratch);
    auto* const few = scratch.take<float>(static_cast<size_t>(kTileRows * tokens));
    auto** const few_rows = scratch.take<float*>(static_cast<size_t>(tokens));
    for (int64_t t = 0; t < tokens; ++t) few_rows[t] = few + t * kTileRows;
    for (int64_t row = 0; row < weight.rows; row += kTileRows) {
        const int64_t rows = std::min(kTileRows, weight.rows - row);
        const WeightView tile = tiles.of(weight.rows_at(row, rows));
        if (rows == kTileRows) {
            multiply(tile, out, p.first + row, p.accumulate, nullptr);
            continue;
        }
        multiply(tile, few_rows, 0, false, nullptr);
        for (int64_t t = 0; t < tokens; ++t) {
            float* const to = out[t] + p.first + row;
            for (int64_t r = 0; r < rows; ++r) to[r] = p.accumulate ? to[r] + few_rows[t][r] : few_rows[t][r];
        }
    }
}

bool read_alike(const WeightView& weight, const WeightView* next) {
    return next != nullptr && next->format == weight.format && next->columns == weight.columns && next->tiled;
}

void multiply_fp4(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    const QuantizedRow* x = quantized_rows(kernels, p, scratch);
    const auto multiply = kernels.of(p.weight.format).codes.bytes;
    multiply_in_tiles(
        p, p.out, p.tokens(), scratch,
        [&](const WeightView& tiles, float* const* out, int64_t first, bool accumulate, const WeightView* next) {
            multiply(tiles, x, p.tokens(), out, first, accumulate, read_alike(tiles, next) ? next : nullptr);
        });
}

void multiply_fp8(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    auto* x = scratch.take<const float*>(p.x.size());
    std::ranges::transform(p.x, x, [](const std::byte* row) { return reinterpret_cast<const float*>(row); });
    auto* const sums = scratch.take<float>(static_cast<size_t>(kTileRows * std::min(kCodeTokens, p.tokens())));
    const auto multiply = kernels.of(p.weight.format).codes.floats;
    for (int64_t token = 0; token < p.tokens(); token += kCodeTokens) {
        const int64_t tokens = std::min(kCodeTokens, p.tokens() - token);
        multiply_in_tiles(
            p, p.out + token, tokens, scratch,
            [&](const WeightView& tiles, float* const* out, int64_t first, bool accumulate, const WeightView* next) {
                multiply(tiles, x + token, tokens, sums, out, first, accumulate,
                         read_alike(tiles, next) ? next : nullptr);
            });
    }
}

size_t scaled_row_bytes(const KernelTable&, const ActivationLayout&, int64_t columns) {
    return Scratch::padded<float>(static_cast<size_t>(columns));
}

// Past the columns lie zeros: those of the weight are filled up to whole dwords.
void scale_row(const KernelTable&, const ActivationLayout&, int64_t columns, int64_t first, int64_t count,
               const float* x, std::byte* row) {
    auto* const to = reinterpret_cast<float*>(row);
    for (int64_t i = 0; i < count; ++i) to[first + i] = x[i] * CodeKernels::kScaledUp;
    if (first + count == columns)
        std::fill(to + columns, to + Scratch::padded<float>(static_cast<size_t>(columns)) / sizeof(float), 0.0F);
}

}  // namespace

constinit const LinearKernel kFp4Linear = {
    .multiply = multiply_fp4,
    .row_bytes = int8_row_bytes,
    .prepare = quantize_int8_row,
    .reads_tiles = [](const KernelTable&, const WeightFormat&) { return true; },
};

constinit const LinearKernel kFp8Linear = {
    .multiply = multiply_fp8,
    .row_bytes = scaled_row_bytes,
    .prepare = scale_row,
    .reads_tiles = [](const KernelTable&, const WeightFormat&) { return true; },
};

}  // namespace sluice
