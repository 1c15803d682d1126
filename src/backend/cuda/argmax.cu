// ArgMax: pieces of a row first, each by a block, then their best.

#include "backend/cuda/early.cuh"
#include "backend/cuda/views.cuh"

namespace sluice::cuda {

namespace {

constexpr int kPieces = 64, kPieceThreads = 256;
// A number and its column in one: the larger is the larger number, of equals the first column.
using Key = unsigned long long;
constexpr Key kNotFinite = ~0ull;

__device__ Key key_of(float value, unsigned column) {
    const unsigned bits = __float_as_uint(value + 0.0f);  // one zero
    if ((bits & 0x7f800000u) == 0x7f800000u) return kNotFinite;
    const unsigned ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return static_cast<Key>(ordered) << 32 | ~column;
}

__device__ Key warp_largest(Key key) {
    for (int step = 16; step > 0; step /= 2) key = max(key, __shfl_xor_sync(kAllLanes, key, step));
    return key;
}

__global__ void __launch_bounds__(kPieceThreads) piece_kernel(Rows<const float> x, int columns, Key* keys) {
    __shared__ Key of_warps[kPieceThreads / 32];
    let_next_begin();
    wait_for_previous();
    const int piece = (columns + kPieces - 1) / kPieces, first = blockIdx.x * piece;
    const float* const row = x[blockIdx.y];
    Key best = 0;
    for (int c = first + threadIdx.x; c < min(first + piece, columns); c += kPieceThreads)
        best = max(best, key_of(row[c], static_cast<unsigned>(c)));
    best = warp_largest(best);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (const Key other : of_warps) best = max(best, other);
    keys[blockIdx.y * kPieces + blockIdx.x] = best;
}

__global__ void largest_kernel(const Key* keys, Rows<int32_t> out) {
    let_next_begin();
    wait_for_previous();
    const Key* const mine = keys + blockIdx.x * kPieces;
    Key best = 0;
    for (int i = threadIdx.x; i < kPieces; i += 32) best = max(best, mine[i]);
    best = warp_largest(best);
    if (threadIdx.x == 0)
        out[blockIdx.x][0] = best == kNotFinite ? -1 : static_cast<int32_t>(~static_cast<unsigned>(best));
}

}  // namespace

void compute(Device& device, const ArgMax& op) {
    if (op.x.rows == 0) return;
    const auto rows = static_cast<unsigned>(op.x.rows);
    auto* const keys = reinterpret_cast<Key*>(device.scratch(rows * kPieces * sizeof(Key)));
    launch_early(device, {dim3(kPieces, rows), kPieceThreads}, piece_kernel, rows_of(op.x),
                 static_cast<int>(op.x.columns), keys);
    launch_early(device, {rows, 32}, largest_kernel, static_cast<const Key*>(keys), elements_of<int32_t>(op.out));
}

}  // namespace sluice::cuda
