#pragma once

// The largest numbers of rows: each row in pieces, a block each.

#include "backend/cuda/early.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

constexpr int kPieces = 64, kPieceThreads = 256;
// A number and its column in one: the larger is the larger number, of equals the first column.
using Key = unsigned long long;
constexpr Key kNotFinite = ~0ull;

__device__ __forceinline__ Key key_of(float value, unsigned column) {
    const unsigned bits = __float_as_uint(value + 0.0f);  // one zero
    if ((bits & 0x7f800000u) == 0x7f800000u) return kNotFinite;
    const unsigned ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return static_cast<Key>(ordered) << 32 | ~column;
}
__device__ __forceinline__ float value_of(Key key) {
    const auto ordered = static_cast<unsigned>(key >> 32);
    return __uint_as_float((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}
__device__ __forceinline__ int column_of(Key key) {
    return static_cast<int>(~static_cast<unsigned>(key));
}

__device__ __forceinline__ Key warp_largest(Key key) {
    for (int step = 16; step > 0; step /= 2) key = max(key, __shfl_xor_sync(kAllLanes, key, step));
    return key;
}

struct Piece {
    int first, end;
};
__device__ __forceinline__ Piece piece_of(int columns, int piece) {
    const int size = (columns + kPieces - 1) / kPieces, first = piece * size;
    return {first, min(first + size, columns)};
}

// The largest key of the block's piece; in thread 0.
__device__ __forceinline__ Key largest_of_piece(const float* row, int columns) {
    __shared__ Key of_warps[kPieceThreads / 32];
    const Piece piece = piece_of(columns, blockIdx.x);
    Key best = 0;
    for (int c = piece.first + static_cast<int>(threadIdx.x); c < piece.end; c += kPieceThreads)
        best = max(best, key_of(row[c], static_cast<unsigned>(c)));
    best = warp_largest(best);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = best;
    __syncthreads();
    for (const Key other : of_warps) best = max(best, other);
    return best;
}

// The largest of all pieces, in every lane of a warp.
__device__ __forceinline__ Key largest_of_row(const Key* keys) {
    Key best = 0;
    for (int i = threadIdx.x % 32; i < kPieces; i += 32) best = max(best, keys[i]);
    return warp_largest(best);
}

}  // namespace sluice::cuda
