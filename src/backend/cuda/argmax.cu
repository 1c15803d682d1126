// ArgMax: pieces of a row first, each by a block, then their best.

#include "backend/cuda/largest.cuh"

namespace sluice::cuda {

namespace {

__global__ void __launch_bounds__(kPieceThreads) piece_kernel(Rows<const float> x, int columns, Key* keys) {
    let_next_begin();
    wait_for_previous();
    const Key best = largest_of_piece(x[blockIdx.y], columns);
    if (threadIdx.x == 0) keys[blockIdx.y * kPieces + blockIdx.x] = best;
}

__global__ void largest_kernel(const Key* keys, Rows<int32_t> out) {
    let_next_begin();
    wait_for_previous();
    const Key best = largest_of_row(keys + blockIdx.x * kPieces);
    if (threadIdx.x == 0) out[blockIdx.x][0] = best == kNotFinite ? -1 : column_of(best);
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
