#pragma once

// What a codec has for products of many rows: its weights decoded to BF16, which tensor cores then read.

#include "backend/cuda/matrix.h"
#include "backend/cuda/product.cuh"

namespace sluice::cuda {

constexpr int kDecodeThreads = 128;

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// A thread: a run of a row. Block z: the z-th of the jobs from `first` on.
template <typename Decoder>
__global__ void __launch_bounds__(kDecodeThreads)
    round_weights_kernel(const __grid_constant__ Product product, int first, uint16_t* out) {
    DeviceWeight weight = product.weight;
    const int z = first + static_cast<int>(blockIdx.z);
    const Job& job = product.table != nullptr ? product.table[z] : product.jobs[product.batch > 1 ? 0 : z];
    if (job.count == 0) return;
    weight.data = job.data, weight.scales = job.scales, weight.zero_points = job.zero_points;
    weight.block_row_offset = job.block_row_offset;
    const int64_t padded = whole_chunks(weight.columns), runs = padded / kRun;
    const int64_t index = static_cast<int64_t>(blockIdx.x) * kDecodeThreads + threadIdx.x;
    if (index >= weight.rows * runs) return;
    const int64_t row = index / runs;
    const int run = static_cast<int>(index % runs);
    float values[kRun] = {};
    if (static_cast<int64_t>(run) * kRun < weight.columns) {
        Decoder::run(weight, row + (product.batch > 1 ? z * product.weight_step : 0), run, values);
    }
    auto* const to = reinterpret_cast<uint4*>(out + (blockIdx.z * weight.rows + row) * padded + run * kRun);
#pragma unroll
    for (int i = 0; i < kRun / 8; ++i) {
        to[i] = uint4{bf16_pair(values[8 * i], values[8 * i + 1]), bf16_pair(values[8 * i + 2], values[8 * i + 3]),
                      bf16_pair(values[8 * i + 4], values[8 * i + 5]), bf16_pair(values[8 * i + 6], values[8 * i + 7])};
    }
}

template <typename Decoder>
void round_weights(Device& device, const Product& product, int first, int count, uint16_t* out) {
    const dim3 grid(blocks_for(product.weight.rows * (whole_chunks(product.weight.columns) / kRun), kDecodeThreads), 1,
                    static_cast<unsigned>(count));
    round_weights_kernel<Decoder><<<grid, kDecodeThreads, 0, device.stream()>>>(product, first, out);
    check_launch("decoding weights");
}

template <typename Decoder>
constexpr DeviceCodec codec_of() {
    return {multiply<Decoder>, round_weights<Decoder>, decode_rows<Decoder>};
}
template <typename Decoder>
constexpr DeviceCodec exact_codec_of() {
    return {multiply<Decoder>, nullptr, decode_rows<Decoder>};
}

}  // namespace sluice::cuda
