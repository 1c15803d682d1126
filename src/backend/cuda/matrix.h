#pragma once

// Products of many rows on tensor cores. Rows of x are rounded to BF16 once, 64 columns at a time in the order in which
// weights meet them; weights are decoded on the way to the tensor cores, or before; sums are F32.

#include "backend/cuda/linear.h"

namespace sluice::cuda {

constexpr int kChunkColumns = 64;

__host__ __device__ inline int64_t whole_chunks(int64_t columns) {
    return (columns + kChunkColumns - 1) / kChunkColumns * kChunkColumns;
}

// Which of a chunk's columns stands at position 16 s + 8 h + 2 c + e, s and c from 0 to 3, h and e 0 or 1. A thread has
// the positions of its c.
enum class ColumnOrder : int32_t {
    kPlain,    // its own
    kPairs,    // those of two runs of 16 bytes of BF16 weights: 32 (s / 2) + 8 c + 4 (s % 2) + 2 h + e
    kNibbles,  // those of 8 bytes of 4-bit codes, pairs at a time: 16 c + 8 h + 4 e + s
};

__host__ __device__ inline int column_at(ColumnOrder order, int position) {
    const int s = position / 16, h = position / 8 % 2, c = position / 2 % 4, e = position % 2;
    if (order == ColumnOrder::kPairs) return 32 * (s / 2) + 8 * c + 4 * (s % 2) + 2 * h + e;
    return order == ColumnOrder::kNibbles ? 16 * c + 8 * h + 4 * e + s : position;
}

// Some rows of a job: [first, first + count) of its own. The rows of all earlier jobs are `base` many.
struct RowTile {
    int32_t job, first, count, base;
};

// A product as tensor cores take it. Its jobs' x, and `up`, are not read.
struct MatrixArgs {
    Product product{};
    int32_t first_job = 0;  // of the product, which the job 0 of a tile is
    int32_t ups_after = 0;  // a joined product: jobs after a gate where its up is

    const uint16_t* x = nullptr;  // BF16, chunks in the order of the weights
    int64_t x_columns = 0;        // of a row; whole chunks
    int64_t x_rows = 0;           // where x_by_base: all of them
    bool x_by_base = false;       // row i of a job is base + i of x; else the one that is listed, or i

    const uint16_t* decoded =
        nullptr;                // null: the jobs' own data; else BF16 rows of whole chunks, jobs one after the other
    int32_t first_decoded = 0;  // job of a tile
    int32_t decoded_ups_after = 0;

    const RowTile* tiles = nullptr;  // in the device's memory; null: every job has all `rows` rows, tile_rows at a time
    const int32_t* tile_count = nullptr;
    int32_t jobs = 0, rows = 0, tile_rows = 0;

    float* out_by_base = nullptr;  // where there is one, row i of a job goes to row base + i of it
    // A joined product: activation(gate, up) as BF16 in this order, to row base + i.
    uint16_t* joined = nullptr;
    int64_t joined_columns = 0;
    ColumnOrder joined_order = ColumnOrder::kPlain;
};

}  // namespace sluice::cuda
