#pragma once

// Products of many rows on tensor cores: weights are decoded to BF16 on their way to shared memory, x is rounded there,
// sums are F32. A block makes kTileOutputs outputs of kTileRows rows, kTileColumns columns of x at a time.

#include "backend/cuda/product.cuh"

namespace sluice::cuda {

constexpr int kTileOutputs = 64, kTileRows = 64, kTileColumns = 64, kMatrixThreads = 128;
constexpr int kTilePitch = kTileColumns + 8;  // 36 words: the 8 rows that a matrix load takes meet all banks

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Four 8x8 matrices of 16-bit numbers; lane l gives the row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(const uint16_t* row, uint32_t (&out)[4]) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address));
}

// sums += a . b, 16 x 16 by 16 x 8.
__device__ __forceinline__ void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <typename Decoder>
__global__ void __launch_bounds__(kMatrixThreads) matrix_kernel(const __grid_constant__ Product product) {
    __shared__ __align__(16) uint16_t weights[kTileOutputs][kTilePitch], inputs[kTileRows][kTilePitch];
    __shared__ const float* x_of[kTileRows];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, z = blockIdx.z;
    const Job job = job_of_block(product, z);
    const int first_row = blockIdx.y * kTileRows, rows = min(kTileRows, job.count - first_row);
    if (rows <= 0) return;
    for (int t = thread; t < rows; t += kMatrixThreads) {
        const int64_t row = first_row + t;
        x_of[t] = job.x + (job.x_rows == nullptr ? row : job.x_rows[row * job.x_rows_stride]) * product.x_stride;
    }

    DeviceWeight weight = product.weight;
    weight.data = job.data, weight.scales = job.scales, weight.zero_points = job.zero_points;
    weight.block_row_offset = job.block_row_offset;
    const int64_t first_output = static_cast<int64_t>(blockIdx.x) * kTileOutputs;
    // Two threads decode a row of the tile, a run each.
    const int my_output = thread / 2, my_run = thread % 2;
    const bool decodes = first_output + my_output < weight.rows;
    const int64_t weight_row = first_output + my_output + (product.batch > 1 ? z * product.weight_step : 0);
    const int runs = static_cast<int>((weight.columns + kRun - 1) / kRun);

    // A warp has 32 outputs of 32 rows.
    const int warp_output = warp % 2 * 32, warp_row = warp / 2 * 32;
    float sums[2][4][4] = {};
    for (int run = 0; run < runs; run += 2) {
        __syncthreads();
        float values[kRun] = {};
        if (decodes && run + my_run < runs) Decoder::run(weight, weight_row, run + my_run, values);
#pragma unroll
        for (int i = 0; i < kRun; i += 8) {
            *reinterpret_cast<uint4*>(&weights[my_output][my_run * kRun + i]) =
                uint4{bf16_pair(values[i], values[i + 1]), bf16_pair(values[i + 2], values[i + 3]),
                      bf16_pair(values[i + 4], values[i + 5]), bf16_pair(values[i + 6], values[i + 7])};
        }
        const int64_t first_column = static_cast<int64_t>(run) * kRun;
#pragma unroll 8
        for (int i = thread; i < kTileRows * kTileColumns / 2; i += kMatrixThreads) {
            const int t = i / (kTileColumns / 2), pair = 2 * (i % (kTileColumns / 2));
            const int64_t column = first_column + pair;
            float low = 0, high = 0;
            if (t < rows && column < weight.columns) low = x_of[t][column];
            if (t < rows && column + 1 < weight.columns) high = x_of[t][column + 1];
            *reinterpret_cast<uint32_t*>(&inputs[t][pair]) = bf16_pair(low, high);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kTileColumns; k += 16) {
            uint32_t a[2][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                load_matrices(&weights[warp_output + 16 * i + lane % 16][k + lane / 16 * 8], a[i]);
                // Rows of x 0 to 7 and 8 to 15, each with columns k to k + 7 and then k + 8 to k + 15.
                load_matrices(&inputs[warp_row + 16 * i + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8], b[i]);
            }
#pragma unroll
            for (int i = 0; i < 2; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    multiply_add(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
            }
        }
    }

#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
            const int t = warp_row + 8 * j + lane % 4 * 2 + c;
            if (t >= rows) continue;
            const int64_t row = first_row + t;
            float* const out = job.out + (job.out_rows == nullptr ? row : job.out_rows[row * job.out_rows_stride]) *
                                             product.out_stride;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int64_t output = first_output + warp_output + 8 * i + lane / 4;
                if (output >= weight.rows) continue;
                float sum = sums[i / 2][j][i % 2 * 2 + c];
                if (job.bias != nullptr) sum += job.bias[output];
                out[output] = product.accumulate ? out[output] + sum : sum;
            }
        }
    }
}

template <typename Decoder>
void multiply_matrix(Device& device, const Product& product) {
    const int jobs = std::max(product.batch, product.job_count);
    const dim3 grid(blocks_for(product.weight.rows, kTileOutputs), blocks_for(product.most_rows, kTileRows),
                    static_cast<unsigned>(jobs));
    matrix_kernel<Decoder><<<grid, kMatrixThreads, 0, device.stream()>>>(product);
    check_launch("a product of matrices");
}

template <typename Decoder>
constexpr DeviceCodec codec_of() {
    return {multiply<Decoder>, multiply_matrix<Decoder>, decode_rows<Decoder>};
}
template <typename Decoder>
constexpr DeviceCodec exact_codec_of() {
    return {multiply<Decoder>, nullptr, decode_rows<Decoder>};
}

}  // namespace sluice::cuda
