#pragma once

// Tiles of a product on tensor cores: some rows of a job times some of its outputs.

#include "backend/cuda/matrix.h"

namespace sluice::cuda {

constexpr uint32_t kRowBytes = 2 * kChunkColumns;  // of a chunk

struct Tile {
    RowTile rows;
    int block;  // of outputs
};

__device__ __forceinline__ int tiles_of_job(const MatrixArgs& args) {
    return (args.rows + args.tile_rows - 1) / args.tile_rows;
}

// Of a product whose outputs are so many blocks.
__device__ __forceinline__ int tile_count(const MatrixArgs& args, int blocks) {
    return (args.tiles != nullptr ? *args.tile_count : args.jobs * tiles_of_job(args)) * blocks;
}

__device__ __forceinline__ Tile tile_at(const MatrixArgs& args, int blocks, int index) {
    const int of_rows = index / blocks, block = index % blocks;
    if (args.tiles != nullptr) return {args.tiles[of_rows], block};
    const int per_job = tiles_of_job(args), job = of_rows / per_job, first = of_rows % per_job * args.tile_rows;
    return {{job, first, min(args.tile_rows, args.rows - first), job * args.rows}, block};
}

// Part 1 of a joined product are the ups.
__device__ __forceinline__ const Job& job_of_tile(const MatrixArgs& args, const RowTile& rows, int part) {
    if (args.product.batch > 1) return args.product.jobs[0];
    const int job = args.first_job + rows.job + part * args.ups_after;
    return args.product.table != nullptr ? args.product.table[job] : args.product.jobs[job];
}

__device__ __forceinline__ int32_t x_row_of(const MatrixArgs& args, const Job& job, const RowTile& rows, int row) {
    if (args.x_by_base) return rows.base + row;
    return job.x_rows == nullptr ? row : job.x_rows[static_cast<int64_t>(row) * job.x_rows_stride];
}

__device__ __forceinline__ int32_t out_row_of(const MatrixArgs& args, const Job& job, const RowTile& rows, int row) {
    if (args.out_by_base != nullptr) return rows.base + row;
    return job.out_rows == nullptr ? row : job.out_rows[static_cast<int64_t>(row) * job.out_rows_stride];
}

__device__ __forceinline__ float* out_of_tile(const MatrixArgs& args, const Job& job, const RowTile& rows) {
    if (args.out_by_base != nullptr) return args.out_by_base;
    return job.out + (args.product.batch > 1 ? rows.job * args.product.out_step : 0);
}

// A job's weight; its rows from `first_row` on.
struct MatrixWeight {
    const uint8_t *data, *scales, *zeros;
    int64_t first_row, row_bytes, scale_row_bytes;
    int group_shift;  // columns of a group: 1 << group_shift
};

__device__ __forceinline__ MatrixWeight weight_of_tile(const MatrixArgs& args, const RowTile& rows, int part) {
    const DeviceWeight& weight = args.product.weight;
    if (args.decoded != nullptr) {
        const int matrix = rows.job - args.first_decoded + part * args.decoded_ups_after;
        return {.data = reinterpret_cast<const uint8_t*>(args.decoded),
                .first_row = matrix * weight.rows,
                .row_bytes = args.x_columns * static_cast<int64_t>(sizeof(uint16_t))};
    }
    const Job& job = job_of_tile(args, rows, part);
    return {.data = job.data,
            .scales = job.scales,
            .zeros = job.zero_points,
            .first_row = args.product.batch > 1 ? rows.job * args.product.weight_step : 0,
            .row_bytes = weight.data_row_bytes,
            .scale_row_bytes = weight.scale_row_bytes,
            .group_shift = 31 - __clz(weight.group_size)};
}

}  // namespace sluice::cuda
