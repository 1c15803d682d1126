// Products of many rows on Hopper's tensor cores. A block makes 128 outputs of up to 256 rows of x at a time: one
// warpgroup copies rows of x, chunk by chunk, to stages in shared memory; two decode 64 rows of the weights each,
// straight from memory to the registers that tensor cores read.

#include <cuda.h>

#include "backend/cuda/matrix_hopper.h"
#include "backend/cuda/matrix_loaders.cuh"
#include "backend/cuda/matrix_stores.cuh"

namespace sluice::cuda {

namespace {

constexpr int kBlockThreads = (kConsumers + 1) * kGroupThreads;

#ifdef SLUICE_HOPPER

// The compiler may not keep in registers what was made of it before.
__device__ __forceinline__ int forgotten(int value) {
    asm volatile("" : "+r"(value));
    return value;
}

template <bool kJoined>
__device__ __forceinline__ int my_part() {
    return kJoined ? threadIdx.x / kGroupThreads : 0;
}

template <bool kJoined, typename Loader>
__device__ __forceinline__ Loader loader_of(const MatrixArgs& args, const Tile& tile) {
    const MatrixWeight weight = weight_of_tile(args, tile.rows, my_part<kJoined>());
    int64_t rows[2];
    for (int r = 0; r < 2; ++r) {
        rows[r] = weight.first_row +
                  min(output_of(args, kJoined, tile.block, my_position() + r), args.product.weight.rows - 1);
    }
    Loader loader;
    loader.start(weight, rows);
    return loader;
}

// Chunks of codes that are on their way: the fewer rows, the sooner they are needed.
template <int kRows>
constexpr int kAhead = kRows <= 128 ? 4 : 2;

template <int kRows, typename Loader>
struct Sums {
    using Codes = typename Loader::Codes[kAhead<kRows>];

    float values[kRows / 2];
    uint32_t operands[2][4][4];

    // Tensor cores read operands after the products were handed over: until they are done, the compiler may put nothing
    // else there. It knows that where they might be used.
    template <int kParity>
    __device__ __forceinline__ void keep(bool never) {
        if (!never) return;
#pragma unroll
        for (int s = 0; s < 4; ++s) {
#pragma unroll
            for (int i = 0; i < 4; ++i) asm volatile("st.shared.u32 [%0], %1;" ::"r"(0), "r"(operands[kParity][s][i]));
        }
    }

    static __device__ __forceinline__ void give_back(MatrixMemory& shared, int stage) {
        if (threadIdx.x % 32 == 0) arrive(shared.empty[stage == 0 ? kStages<kRows> - 1 : stage - 1]);
    }

    // Chunk kPlace of kAhead: products with what is decoded; between them the next chunk is decoded, and another asked
    // for.
    template <int kPlace>
    __device__ __forceinline__ void step(const Loader& loader, int chunk, int chunks, MatrixMemory& shared,
                                         StageTurn<kRows>& turn, Codes& codes, const MatrixArgs& args) {
        constexpr int kParity = kPlace % 2, kNext = (kPlace + 1) % kAhead<kRows>;
        wait_for(shared.full[turn.stage], turn.parity);
        if (!args.x_by_base) publish_shared();
        const uint64_t rows = swizzled_rows(shared_address(shared.stages + turn.stage * kRows * kRowBytes));
#pragma unroll
        for (int s = 0; s < 4; ++s) {
            products_begin();
            multiply_warpgroup<kRows>(values, operands[kParity][s], rows + 2 * s, chunk + s > 0);
            if (s % 3 == 0) products_end();
            if (s == 0) {
                products_wait<1>();  // those of the chunk before
                keep<1 - kParity>(args.rows < 0);
                if (chunk > 0) give_back(shared, turn.stage);
            }
            loader.decode(codes[kNext], s, operands[1 - kParity][s]);
#pragma unroll
            for (uint32_t& operand : operands[1 - kParity][s]) asm volatile("" : "+r"(operand));
        }
        codes[kNext] = loader.load(min(chunk + 1 + kAhead<kRows>, chunks - 1));
        turn.next();
    }

    // Up to `count` of them, from kPlace on.
    template <int kPlace>
    __device__ __forceinline__ void steps(const Loader& loader, int chunk, int count, int chunks, MatrixMemory& shared,
                                          StageTurn<kRows>& turn, Codes& codes, const MatrixArgs& args) {
        if constexpr (kPlace < kAhead<kRows>) {
            if (kPlace >= count) return;
            step<kPlace>(loader, chunk + kPlace, chunks, shared, turn, codes, args);
            steps<kPlace + 1>(loader, chunk, count, chunks, shared, turn, codes, args);
        }
    }

    // `codes`: of the first chunks.
    __device__ __forceinline__ void run(const Loader& loader, int chunks, MatrixMemory& shared, StageTurn<kRows>& turn,
                                        Codes& codes, const MatrixArgs& args) {
#pragma unroll
        for (int s = 0; s < 4; ++s) loader.decode(codes[0], s, operands[0][s]);
        codes[0] = loader.load(min(kAhead<kRows>, chunks - 1));
        int chunk = 0;
        for (; chunk + kAhead<kRows> <= chunks; chunk += kAhead<kRows>)
            steps<0>(loader, chunk, kAhead<kRows>, chunks, shared, turn, codes, args);
        steps<0>(loader, chunk, chunks - chunk, chunks, shared, turn, codes, args);
        products_wait<0>();
        keep<0>(args.rows < 0);
        keep<1>(args.rows < 0);
        give_back(shared, turn.stage);
    }
};

template <int kRows, bool kJoined, typename Loader>
__device__ __forceinline__ void compute_tiles(const MatrixArgs& args, MatrixMemory& shared, int blocks) {
    const int count = tile_count(args, blocks), chunks = static_cast<int>(args.x_columns / kChunkColumns);
    StageTurn<kRows> turn;
    int index = blockIdx.x;
    if (index >= count) return;
    Loader loader;
    typename Sums<kRows, Loader>::Codes codes;
    const auto begin = [&] {
        loader = loader_of<kJoined, Loader>(args, tile_at(args, blocks, index));
        for (int i = 0; i < kAhead<kRows>; ++i) codes[i] = loader.load(min(i, chunks - 1));
    };
    begin();
    while (index < count) {
        Sums<kRows, Loader> sums;
        sums.run(loader, chunks, shared, turn, codes, args);
        const Tile tile = tile_at(args, blocks, forgotten(index));
        index += gridDim.x;
        if (index < count) begin();  // on their way while sums are stored
        const Job& job = job_of_tile(args, tile.rows, my_part<kJoined>());
        if constexpr (kJoined) {
            join_sums<kRows>(args, job, tile, sums.values, shared);
        } else {
            store_sums<kRows>(args, job, tile, sums.values, shared);
        }
    }
}

#endif

template <int kRows, bool kJoined, typename Loader>
__global__ void __launch_bounds__(kBlockThreads, 1)
    warpgroup_kernel(const __grid_constant__ MatrixArgs args, const __grid_constant__ CUtensorMap x) {
#ifdef SLUICE_HOPPER
    extern __shared__ __align__(1024) uint8_t memory[];
    MatrixMemory& shared = *reinterpret_cast<MatrixMemory*>(memory);
    if (threadIdx.x < kStages<kRows>) {
        init_barrier(shared.full[threadIdx.x], args.x_by_base ? 1 : kGroupThreads);
        init_barrier(shared.empty[threadIdx.x], kConsumers * kGroupThreads / 32);
        publish_shared();
    }
    __syncthreads();
    constexpr int kOutputs = kJoined ? kGroupOutputs : kConsumers * kGroupOutputs;
    const int blocks = static_cast<int>((args.product.weight.rows + kOutputs - 1) / kOutputs);
    if (threadIdx.x >= kConsumers * kGroupThreads) {
        give_registers<40>();
        if (!args.x_by_base) {
            copy_rows<kRows>(args, shared, blocks);
        } else if (threadIdx.x == kConsumers * kGroupThreads) {
            copy_boxes<kRows>(args, x, shared, blocks);
        }
    } else {
        take_registers<232>();
        compute_tiles<kRows, kJoined, Loader>(args, shared, blocks);
    }
#endif
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

EncodeTiled encode_tiled() {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "asking the driver for a function");
    return reinterpret_cast<EncodeTiled>(function);
}

// Boxes of a chunk of so many rows of x, swizzled. Of no meaning where rows are not copied in boxes.
CUtensorMap map_of_x(const MatrixArgs& args, int rows) {
    CUtensorMap map{};
    if (!args.x_by_base) return map;
    static const EncodeTiled encode = encode_tiled();
    const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(args.x_columns), static_cast<cuuint64_t>(args.x_rows)};
    const cuuint64_t row_bytes = sizes[0] * sizeof(uint16_t);
    const cuuint32_t box[2] = {kChunkColumns, static_cast<cuuint32_t>(rows)}, steps[2] = {1, 1};
    const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<uint16_t*>(args.x), sizes,
                                   &row_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    check(result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue, "describing rows to the card");
    return map;
}

// Takes shared memory where there is code for warpgroups.
__global__ void probe_kernel() {
#ifdef SLUICE_HOPPER
    __shared__ volatile int32_t taken[1];
    taken[0] = 0;
#endif
}

template <int kRows, bool kJoined, typename Loader>
void launch(Device& device, const MatrixArgs& args) {
    constexpr size_t bytes = sizeof(MatrixMemory);
    check(cudaFuncSetAttribute(warpgroup_kernel<kRows, kJoined, Loader>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               bytes),
          "shared memory for products of matrices");
    warpgroup_kernel<kRows, kJoined, Loader>
        <<<device.multiprocessors(), kBlockThreads, bytes, device.stream()>>>(args, map_of_x(args, kRows));
    check_launch("a product of matrices");
}

template <bool kJoined, typename Loader>
void launch_width(Device& device, const MatrixArgs& args) {
    if (args.tile_rows <= 64) return launch<64, kJoined, Loader>(device, args);
    if (args.tile_rows <= 128) return launch<128, kJoined, Loader>(device, args);
    if constexpr (!kJoined) {
        if (args.tile_rows <= 192) return launch<192, kJoined, Loader>(device, args);
    }
    launch<256, kJoined, Loader>(device, args);
}

}  // namespace

bool has_warpgroups() {
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, probe_kernel), "asking for a kernel's code");
    return attributes.sharedSizeBytes > 0;
}

void multiply_on_warpgroups(Device& device, const MatrixArgs& args, ColumnOrder order) {
    const bool joined = args.joined != nullptr;
    if (order == ColumnOrder::kNibbles) {
        joined ? launch_width<true, NibbleRows>(device, args) : launch_width<false, NibbleRows>(device, args);
    } else {
        joined ? launch_width<true, Bf16Rows>(device, args) : launch_width<false, Bf16Rows>(device, args);
    }
}

}  // namespace sluice::cuda
