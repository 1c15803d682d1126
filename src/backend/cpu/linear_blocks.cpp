// GGUF's blocks times activations in int8: a row is its bytes, the scale of each group, and the sums of every 16 bytes.

#include <algorithm>
#include <cstring>

#include "backend/cpu/linear.h"
#include "tensor/row_tiles.h"

namespace sluice {

namespace {

constexpr int64_t kSumColumns = 16, kHalfSums = AmxBlockActivations::kHalfColumns / kSumColumns;

// Whole vectors of every instruction set.
int64_t value_bytes(int64_t columns) {
    return static_cast<int64_t>(round_up(static_cast<uint64_t>(columns), 64));
}

size_t block_row_bytes(const KernelTable&, const ActivationLayout& layout, int64_t columns) {
    return static_cast<size_t>(value_bytes(columns)) +
           Scratch::padded<float>(static_cast<size_t>(columns / layout.group)) +
           Scratch::padded<int16_t>(static_cast<size_t>(columns / kSumColumns));
}

// The parts of a row that lies at `row`.
struct Parts {
    int8_t* values;
    float* scales;
    int16_t* sums;

    Parts(const ActivationLayout& layout, int64_t columns, std::byte* row)
        : values(reinterpret_cast<int8_t*>(row)), scales(reinterpret_cast<float*>(row + value_bytes(columns))) {
        const size_t scale_bytes = Scratch::padded<float>(static_cast<size_t>(columns / layout.group));
        sums = reinterpret_cast<int16_t*>(row + value_bytes(columns) + scale_bytes);
    }
};

void prepare_row(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns, int64_t first,
                 int64_t count, const float* x, std::byte* row) {
    const Parts parts(layout, columns, row);
    if (first + count == columns)
        std::memset(parts.values + columns, 0, static_cast<size_t>(value_bytes(columns) - columns));
    kernels.quantize_row(x, first, count, layout.group, parts.values, parts.scales, parts.sums);
}

// Enough for two planes of bytes, as AMX takes them.
BlockTile take_tile(const KernelTable& kernels, int64_t columns, Scratch& scratch) {
    const int64_t factor_groups = (columns + BlockTile::kFactorColumns - 1) / BlockTile::kFactorColumns;
    const int64_t words = factor_groups * BlockTile::kFactorWords * kernels.tile_rows;
    BlockTile tile{};
    tile.values = scratch.take<std::byte>(
        static_cast<size_t>((kernels.amx_blocks != nullptr ? 2 : 1) * value_bytes(columns) * kernels.tile_rows));
    tile.factors = scratch.take<int32_t>(static_cast<size_t>(words));
    return tile;
}

// As for affine weights: most rows of whole blocks must be wanted.
bool amx_blocks_pay(const KernelTable& kernels, const ActivationLayout&, int64_t tokens) {
    return kernels.amx_blocks != nullptr && 4 * tokens >= 3 * amx_blocks(tokens) * kAmxTokens;
}

AmxBlockActivations gather_rows(const KernelTable& kernels, const LinearProduct& p, const BlockRow* x,
                                Scratch& scratch) {
    AmxBlockActivations gathered{};
    gathered.columns = p.weight.columns;
    gathered.group = p.layout.group;
    gathered.tokens = p.tokens();
    const int64_t rows = amx_blocks(gathered.tokens) * kAmxTokens;
    gathered.values = scratch.take<int8_t>(static_cast<size_t>(rows * gathered.whole_columns()));
    gathered.scales = scratch.take<float>(static_cast<size_t>(rows * gathered.groups()));
    gathered.sums = scratch.take<int16_t>(static_cast<size_t>(rows * gathered.halves() * kHalfSums));
    kernels.amx_blocks->gather(x, gathered);
    return gathered;
}

int64_t row_bytes(const WeightView& weight) {
    return static_cast<int64_t>(weight.format.data_row_bytes(weight.columns));
}

// The rows of a part in tiles one after the other, at `memory`.
WeightView untiled(const WeightView& part, std::byte* memory) {
    untile_rows(part, {.data = memory});
    WeightView rows = part;
    rows.data = memory;
    rows.tiled = false;
    return rows;
}

void multiply_blocks(const KernelTable& kernels, const LinearProduct& p, Scratch& scratch) {
    const WeightView& weight = p.weight;
    const BlockKernels& blocks = *kernels.of(weight.format).blocks;
    const int64_t tokens = p.tokens();
    auto* x = scratch.take<BlockRow>(p.x.size());
    std::ranges::transform(p.x, x, [&](const std::byte* row) {
        const Parts parts(p.layout, p.columns, const_cast<std::byte*>(row));
        return BlockRow{parts.values, parts.scales, parts.sums};
    });
    if (weight.tiled ? tokens <= blocks.vector_tokens : tokens < kernels.matrix_tokens) {
        const auto vector = weight.tiled ? blocks.tiled_vector : blocks.vector;
        for (int64_t t = 0; t < tokens; ++t) {
            vector(weight, x[t], p.out[t] + p.first, p.accumulate, t + 1 == tokens ? p.next : nullptr);
        }
        return;
    }
    BlockTile tile = take_tile(kernels, weight.columns, scratch);
    const auto for_tiles = [&](auto&& multiply) {
        for (int64_t row = 0; row < weight.rows; row += kernels.tile_rows) {
            multiply(weight.rows_at(row, std::min<int64_t>(kernels.tile_rows, weight.rows - row)), p.first + row);
        }
    };
    if (blocks.pack_planes != nullptr && amx_blocks_pay(kernels, p.layout, tokens)) {
        auto* const rows =
            scratch.take<std::byte>(weight.tiled ? static_cast<size_t>(kernels.tile_rows * row_bytes(weight)) : 0);
        const AmxBlockActivations gathered = gather_rows(kernels, p, x, scratch);
        for_tiles([&](const WeightView& part, int64_t first) {
            blocks.pack_planes(part.tiled ? untiled(part, rows) : part, tile);
            kernels.amx_blocks->matrix(blocks, tile, gathered, p.out, first, p.accumulate);
        });
        return;
    }
    for_tiles([&](const WeightView& part, int64_t first) {
        blocks.pack(part, tile);
        blocks.matrix(tile, x, tokens, p.out, first, p.accumulate);
    });
}

}  // namespace

constinit const LinearKernel kBlockLinear = {
    .multiply = multiply_blocks,
    .row_bytes = block_row_bytes,
    .prepare = prepare_row,
    .gathers = amx_blocks_pay,
    .reads_tiles = [](const KernelTable& kernels,
                      const WeightFormat& format) { return kernels.of(format).blocks->tiled_vector != nullptr; },
};

}  // namespace sluice
