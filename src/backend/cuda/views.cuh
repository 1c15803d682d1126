#pragma once

// Tensors and sequences as kernels see them, and what nearly every kernel does.

#include <cstdint>

#include "backend/cuda/compute.h"

namespace sluice::cuda {

template <typename Element>
struct Rows {
    Element* first;
    int64_t stride;
    __device__ Element* operator[](int64_t row) const { return first + row * stride; }
};

template <typename Element>
Rows<Element> elements_of(const Tensor& tensor) {
    return {reinterpret_cast<Element*>(device_bytes(tensor.buffer) + tensor.offset), tensor.row_stride};
}
inline Rows<const float> rows_of(const Tensor& tensor) {
    return elements_of<const float>(tensor);
}
inline Rows<float> writable_rows_of(const Tensor& tensor) {
    return elements_of<float>(tensor);
}
inline Rows<const int32_t> ints_of(const Tensor& tensor) {
    return elements_of<const int32_t>(tensor);
}

struct SequencePart {
    int sequence = -1;  // none
    int first_row, count, position;
};

// The table of Sequences.
struct SequenceTable {
    Rows<const int32_t> rows;
    int count;

    __device__ SequencePart at(int s) const {
        const int32_t* row = rows[s];
        return {s, row[0], row[1], row[2]};
    }
    // Whose row of the batch it is.
    __device__ SequencePart of_row(int row) const {
        for (int s = 0; s < count; ++s) {
            const SequencePart part = at(s);
            if (row >= part.first_row && row < part.first_row + part.count) return part;
        }
        return {};
    }
    // The sequence of tile `tile` where each is cut into tiles of `tile_rows` rows of its own, and the tile's first
    // row within it.
    __device__ SequencePart of_tile(int tile, int tile_rows, int& first) const {
        for (int s = 0; s < count; ++s) {
            const SequencePart part = at(s);
            const int tiles = (part.count + tile_rows - 1) / tile_rows;
            if (tile < tiles) {
                first = tile * tile_rows;
                return part;
            }
            tile -= tiles;
        }
        return {};
    }
};

inline SequenceTable table_of(const Sequences& sequences) {
    return {ints_of(sequences.rows), static_cast<int>(sequences.rows.rows)};
}

inline unsigned blocks_for(int64_t count, int64_t per_block) {
    return static_cast<unsigned>((count + per_block - 1) / per_block);
}

inline void check_launch(const char* kernel) {
    check(cudaGetLastError(), kernel);
}

constexpr unsigned kAllLanes = 0xffffffff;

// The same in every lane, added in one fixed order.
__device__ inline float warp_sum(float value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
    return value;
}
__device__ inline float warp_max(float value) {
    for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
    return value;
}

// Over a block of whole warps, at most 32 of them; the same in every thread.
__device__ inline float block_sum(float value) {
    __shared__ float sums[32];
    const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
    value = warp_sum(value);
    if (lane == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    return warp_sum(lane < warps ? sums[lane] : 0.0f);
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

}  // namespace sluice::cuda
