// Affine weights times activations in int8: a row is its bytes, the scale of each group, and scale times sum.

#include <algorithm>
#include <optional>

#include "backend/cpu/int8_rows.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

// Enough for values of a byte each, as AMX takes them.
size_t tile_value_bytes(const KernelTable& kernels, const WeightView& weight) {
    const int64_t row_bytes = kernels.quantized_bytes(weight.columns, weight.format.bits);
    const bool halves = weight.format.bits == 4 && kernels.amx == nullptr;
    return static_cast<size_t>((halves ? row_bytes / 2 : row_bytes) * kernels.tile_rows);
}

AffineTile take_tile(const KernelTable& kernels, const WeightView& weight, Scratch& scratch) {
    const auto scales = static_cast<size_t>(weight.columns / weight.format.group_size * kernels.tile_rows);
    AffineTile tile{};
    tile.values = scratch.take<std::byte>(tile_value_bytes(kernels, weight));
    tile.scales = scratch.take<float>(scales);
    tile.zero_points = scratch.take<float>(scales);
    return tile;
}

// Calls multiply(rows, first row, what will probably be packed next) for the rows of every tile.
template <typename Multiply>
void for_tiles(const KernelTable& kernels, const WeightView& weight, const WeightView* next, Multiply&& multiply) {
    const auto tile_at = [&](const WeightView& from, int64_t row) {
        return from.rows_at(row, std::min<int64_t>(kernels.tile_rows, from.rows - row));
    };
    for (int64_t row = 0; row < weight.rows; row += kernels.tile_rows) {
        std::optional<WeightView> following;
        if (row + kernels.tile_rows < weight.rows) {
            following = tile_at(weight, row + kernels.tile_rows);
        } else if (next != nullptr && next->format.codec == &kAffineCodec) {
            following = tile_at(*next, 0);
        }
        multiply(tile_at(weight, row), row, following ? &*following : nullptr);
    }
}

// AMX computes whole blocks, so most of their rows must be wanted; it is up to twice as fast.
bool amx_pays(const KernelTable& kernels, const ActivationLayout& layout, int64_t tokens) {
    const bool takes = kernels.amx != nullptr && (layout.bits == 4 || layout.bits == 8) &&
                       (layout.group == kAmxColumns || layout.group == 2 * kAmxColumns);
    const int64_t computed = amx_blocks(tokens) * kAmxTokens;
    return takes && 4 * tokens >= 3 * computed;
}

AmxActivations gather_activations(const KernelTable& kernels, const WeightView& weight, const QuantizedRow* x,
                                  int64_t tokens, Scratch& scratch) {
    const int64_t rows = amx_blocks(tokens) * kAmxTokens;
    const auto factors = static_cast<size_t>(rows * (weight.columns / weight.format.group_size));
    AmxActivations gathered{};
    gathered.tokens = tokens;
    gathered.columns = weight.columns;
    gathered.values = scratch.take<int8_t>(static_cast<size_t>(rows * weight.columns));
    gathered.scales = scratch.take<float>(factors);
    gathered.sums = scratch.take<float>(factors);
    kernels.amx->gather(x, weight.format.bits, weight.format.group_size, gathered);
    return gathered;
}

void multiply_int8(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    const WeightView& weight = p.weight;
    const int64_t tokens = p.tokens();
    const QuantizedRow* x = quantized_rows(kernels, p, scratch);
    if (weight.tiled && tokens <= kernels.tiled_tokens && !amx_pays(kernels, p.layout, tokens)) {
        return kernels.tiled_affine_rows(weight, x, tokens, p.out, p.first, p.accumulate, p.next);
    }
    if (tokens < kernels.matrix_tokens) {
        for (int64_t t = 0; t < tokens; ++t) {
            kernels.affine_vector(weight, x[t], p.out[t] + p.first, p.accumulate, t + 1 == tokens ? p.next : nullptr);
        }
        return;
    }
    AffineTile tile = take_tile(kernels, weight, scratch);
    if (amx_pays(kernels, p.layout, tokens)) {
        const AmxActivations gathered = gather_activations(kernels, weight, x, tokens, scratch);
        for_tiles(kernels, weight, p.next, [&](const WeightView& part, int64_t row, const WeightView* following) {
            kernels.amx->pack(part, tile);
            kernels.amx->matrix(tile, gathered, p.out, p.first + row, p.accumulate, following);
        });
        return;
    }
    for_tiles(kernels, weight, p.next, [&](const WeightView& part, int64_t row, const WeightView* following) {
        kernels.affine_pack(part, tile);
        kernels.affine_matrix(tile, x, tokens, p.out, p.first + row, p.accumulate, following);
    });
}

}  // namespace

constinit const LinearKernel kInt8Linear = {
    .multiply = multiply_int8,
    .row_bytes = int8_row_bytes,
    .prepare = quantize_int8_row,
    .gathers = amx_pays,
    .reads_tiles = [](const KernelTable& kernels, const WeightFormat&) { return kernels.tiled_affine_rows != nullptr; },
};

}  // namespace sluice
