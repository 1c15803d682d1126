#pragma once

// What a block of matrix_hopper.cu has in shared memory, and the warpgroup that fills it with rows of x.

#include "backend/cuda/hopper.cuh"
#include "backend/cuda/matrix_tiles.cuh"

namespace sluice::cuda {

constexpr int kMostRows = 256, kGroupThreads = 128, kConsumers = 2;
[[maybe_unused]] constexpr int kGroupOutputs = 64;
// Stages of a chunk of kRows rows each: the fewer rows, the more of them.
constexpr uint32_t kStageMemory = 5 * kMostRows * kRowBytes;
template <int kRows>
constexpr int kStages = kStageMemory / (kRows * kRowBytes);
constexpr int kMostStages = kStages<64>;

struct MatrixMemory {
    uint8_t stages[kStageMemory];
    int32_t out_rows[kConsumers][kMostRows];
    uint64_t full[kMostStages], empty[kMostStages];
    float exchange[kConsumers][kMostRows / 4][kGroupThreads];  // of joined products
};

#ifdef SLUICE_HOPPER

// Where the next stage is, and which turn of its barriers.
template <int kRows>
struct StageTurn {
    int stage = 0;
    uint32_t parity = 0;
    __device__ void next() {
        if (++stage == kStages<kRows>) stage = 0, parity ^= 1;
    }
};

// Copies rows of x for all tiles of this block, wherever they lie.
template <int kMost>
__device__ __forceinline__ void copy_rows(const MatrixArgs& args, MatrixMemory& shared, int blocks) {
    const int thread = threadIdx.x % kGroupThreads, unit = thread % 8, first_row = thread / 8;
    constexpr int kRowsOfThread = kMost / 16;
    const uint32_t place =
        shared_address(shared.stages) + first_row * kRowBytes + static_cast<uint32_t>((unit ^ first_row % 8) * 16);
    const int count = tile_count(args, blocks), chunks = static_cast<int>(args.x_columns / kChunkColumns);
    const auto units_of_row = static_cast<uint32_t>(args.x_columns / 8);
    StageTurn<kMost> turn;
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
        const RowTile rows = tile_at(args, blocks, index).rows;
        const Job& job = job_of_tile(args, rows, 0);
        uint32_t from[kRowsOfThread];
#pragma unroll
        for (int i = 0; i < kRowsOfThread; ++i) {
            const int row = rows.first + min(first_row + 16 * i, rows.count - 1);
            from[i] = static_cast<uint32_t>(x_row_of(args, job, rows, row)) * units_of_row + unit;
        }
        const int row_steps = (rows.count + 15) / 16;
        for (int chunk = 0; chunk < chunks; ++chunk) {
            wait_for(shared.empty[turn.stage], turn.parity ^ 1);
            const uint32_t to = place + turn.stage * kMost * kRowBytes;
            const auto* const x = reinterpret_cast<const uint4*>(args.x) + chunk * 8;
#pragma unroll
            for (int i = 0; i < kRowsOfThread; ++i) {
                if (i < row_steps) copy_16(to + i * 16 * kRowBytes, x + from[i]);
            }
            arrive_after_copies(shared.full[turn.stage]);
            turn.next();
        }
    }
    wait_for_copies();
}

// The same for rows that follow each other, by one thread.
template <int kMost>
__device__ __forceinline__ void copy_boxes(const MatrixArgs& args, const CUtensorMap& x, MatrixMemory& shared,
                                           int blocks) {
    const int count = tile_count(args, blocks), chunks = static_cast<int>(args.x_columns / kChunkColumns);
    StageTurn<kMost> turn;
    for (int index = blockIdx.x; index < count; index += gridDim.x) {
        const RowTile rows = tile_at(args, blocks, index).rows;
        for (int chunk = 0; chunk < chunks; ++chunk) {
            wait_for(shared.empty[turn.stage], turn.parity ^ 1);
            expect_bytes(shared.full[turn.stage], kMost * kRowBytes);
            copy_box(shared.stages + turn.stage * kMost * kRowBytes, x, chunk * kChunkColumns, rows.base + rows.first,
                     shared.full[turn.stage]);
            turn.next();
        }
    }
}

#endif

}  // namespace sluice::cuda
