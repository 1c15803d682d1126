#include "backend/cpu/linear.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace sluice {

namespace {

constexpr int64_t kFloatTileRows = 32;
constexpr size_t kFloatMatrixTokens = 2;

size_t tile_value_bytes(const KernelTable& kernels, const WeightView& weight) {
    const int64_t row_bytes = kernels.quantized_bytes(weight.columns, weight.format.bits);
    return static_cast<size_t>((weight.format.bits == 4 ? row_bytes / 2 : row_bytes) * kernels.tile_rows);
}

size_t tile_scales(const KernelTable& kernels, const WeightView& weight) {
    return static_cast<size_t>(weight.columns / weight.format.group_size * kernels.tile_rows);
}

void multiply_quantized(const KernelTable& kernels, const WeightView& weight, const LinearInput& x,
                        float* const* out, int64_t first, bool accumulate, Scratch& scratch,
                        const WeightView* next) {
    const auto tokens = static_cast<int64_t>(x.tokens());
    if (tokens < kernels.matrix_tokens) {
        for (int64_t t = 0; t < tokens; ++t) {
            kernels.affine_vector(weight, x.quantized[static_cast<size_t>(t)], out[t] + first, accumulate,
                                  t + 1 == tokens ? next : nullptr);
        }
        return;
    }
    AffineTile tile{};
    tile.values = scratch.take<std::byte>(tile_value_bytes(kernels, weight));
    tile.scales = scratch.take<float>(tile_scales(kernels, weight));
    tile.biases = scratch.take<float>(tile_scales(kernels, weight));
    // The tile's worth of rows of `from` that starts at `row`.
    const auto tile_at = [&](const WeightView& from, int64_t row) {
        return from.rows_at(row, std::min<int64_t>(kernels.tile_rows, from.rows - row));
    };
    for (int64_t row = 0; row < weight.rows; row += kernels.tile_rows) {
        std::optional<WeightView> following;
        if (row + kernels.tile_rows < weight.rows) {
            following = tile_at(weight, row + kernels.tile_rows);
        } else if (next != nullptr && next->format.kind == WeightKind::kAffine) {
            following = tile_at(*next, 0);
        }
        kernels.affine_pack(tile_at(weight, row), tile);
        kernels.affine_matrix(tile, x.quantized.data(), tokens, out, first + row, accumulate,
                              following ? &*following : nullptr);
    }
}

void multiply_floats(const KernelTable& kernels, const WeightView& weight, const LinearInput& x,
                     float* const* out, int64_t first, bool accumulate, Scratch& scratch) {
    if (x.tokens() < kFloatMatrixTokens) {
        for (size_t t = 0; t < x.tokens(); ++t) {
            kernels.float_vector(weight, x.floats[t], out[t] + first, accumulate);
        }
        return;
    }
    auto* tile = scratch.take<float>(static_cast<size_t>(kFloatTileRows * weight.columns));
    for (int64_t row = 0; row < weight.rows; row += kFloatTileRows) {
        const int64_t rows = std::min(kFloatTileRows, weight.rows - row);
        for (int64_t r = 0; r < rows; ++r) {
            kernels.decode(weight, row + r, 0, weight.columns, tile + r * weight.columns);
        }
        kernels.float_matrix(tile, weight.columns, rows, weight.columns, x.floats.data(),
                             static_cast<int64_t>(x.tokens()), out, first + row, accumulate);
    }
}

}  // namespace

size_t QuantizedRows::bytes(const KernelTable& kernels, QuantizedLayout layout, int64_t rows,
                            int64_t columns) {
    const auto values = static_cast<size_t>(rows * kernels.quantized_bytes(columns, layout.bits));
    const auto factors = static_cast<size_t>(rows * (columns / layout.group));
    return Scratch::padded<int8_t>(values) + 2 * Scratch::padded<float>(factors);
}

QuantizedRows::QuantizedRows(const KernelTable& kernels, QuantizedLayout wanted, int64_t rows, int64_t width,
                             Scratch& scratch)
    : layout(wanted),
      columns(width),
      stride(kernels.quantized_bytes(width, wanted.bits)),
      groups(width / wanted.group) {
    values = scratch.take<int8_t>(static_cast<size_t>(rows * stride));
    scales = scratch.take<float>(static_cast<size_t>(rows * groups));
    sums = scratch.take<float>(static_cast<size_t>(rows * groups));
    if (stride == columns) return;
    // Padding may lie between the columns of the last unit.
    const int64_t last = columns - columns % kernels.quantized_bytes(1, layout.bits);
    for (int64_t r = 0; r < rows; ++r) {
        std::memset(values + r * stride + last, 0, static_cast<size_t>(stride - last));
    }
}

size_t multiply_rows_scratch(const KernelTable& kernels, const WeightView& weight, size_t tokens) {
    if (tokens < 2) return 0;
    size_t bytes = Scratch::padded<float>(static_cast<size_t>(kFloatTileRows * weight.columns));
    if (weight.format.kind == WeightKind::kAffine) {
        const size_t packed = Scratch::padded<std::byte>(tile_value_bytes(kernels, weight)) +
                              2 * Scratch::padded<float>(tile_scales(kernels, weight));
        bytes = std::max(bytes, packed);
    }
    return bytes;
}

void multiply_rows(const KernelTable& kernels, const WeightView& weight, const LinearInput& x,
                   float* const* out, int64_t first, bool accumulate, Scratch& scratch,
                   const WeightView* next) {
    if (x.quantized.empty()) {
        multiply_floats(kernels, weight, x, out, first, accumulate, scratch);
    } else {
        multiply_quantized(kernels, weight, x, out, first, accumulate, scratch, next);
    }
}

size_t piece_size(const ThreadPool& pool, int64_t count, int64_t smallest) {
    const auto pieces = static_cast<int64_t>(4 * pool.threads());
    return static_cast<size_t>(std::max(smallest, (count + pieces - 1) / pieces));
}

}  // namespace sluice
