#pragma once

// What Hopper has for tiles: barriers in shared memory, the copy engine, products of four warps. For kernels that are
// compiled for sm_90a.

#include <cuda.h>

#include <cstdint>

#include "backend/cuda/warpgroup.cuh"

namespace sluice::cuda {

__device__ __forceinline__ void barrier_init(uint64_t* barrier, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives and makes the phase wait for so many bytes of copies, too.
__device__ __forceinline__ void barrier_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
    uint32_t done = 0;
    while (done == 0) {
        asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                     : "=r"(done)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
    }
}

// A box of a tensor of three dimensions; `barrier` counts its bytes.
__device__ __forceinline__ void copy_box(const CUtensorMap& map, void* to, uint64_t* barrier, int x, int y, int z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
        "[%2];" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
        : "memory");
}

__device__ __forceinline__ void sync_threads_of(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Rows of 128 bytes in shared memory, their 16-byte units exchanged by the row's number modulo 8; `step` is from one
// run of 64 columns to the next where columns lie along rows and are the ones that a product keeps.
__device__ __forceinline__ uint64_t tile_descriptor(const void* tile, uint32_t step) {
    return static_cast<uint64_t>(shared_address(tile) >> 4 & 0x3fff) | static_cast<uint64_t>(step >> 4) << 16 |
           static_cast<uint64_t>(1024 >> 4) << 32 | static_cast<uint64_t>(1) << 62;
}

// Keeps the compiler from using results above the wait for them.
template <int kCount>
__device__ __forceinline__ void made_by_products(float (&results)[kCount]) {
#pragma unroll
    for (float& result : results) asm volatile("" : "+f"(result)::"memory");
}

#define SLUICE_SUMS_8(d, i)                                                                                     \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
        "+f"(d[i + 7])
#define SLUICE_SUMS_32(d, i) \
    SLUICE_SUMS_8(d, i), SLUICE_SUMS_8(d, i + 8), SLUICE_SUMS_8(d, i + 16), SLUICE_SUMS_8(d, i + 24)
#define SLUICE_SUMS_64(d, i) SLUICE_SUMS_32(d, i), SLUICE_SUMS_32(d, i + 32)

// d = a . b^T + d (or without d): 64 rows of a and kColumns of b, 16 numbers of each, both in shared memory.
template <int kColumns>
__device__ __forceinline__ void multiply_rows(float (&d)[kColumns / 2], uint64_t a, uint64_t b, bool add);

template <>
__device__ __forceinline__ void multiply_rows<80>(float (&d)[40], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %42, 0; wgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39"
        "}, %40, %41, p, 1, 1, 0, 0; }"
        : SLUICE_SUMS_32(d, 0), SLUICE_SUMS_8(d, 32)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
template <>
__device__ __forceinline__ void multiply_rows<128>(float (&d)[64], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, %64, %65, p, 1, 1, 0, 0; }"
        : SLUICE_SUMS_64(d, 0)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
template <>
__device__ __forceinline__ void multiply_rows<160>(float (&d)[80], uint64_t a, uint64_t b, bool add) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %82, 0; wgmma.mma_async.sync.aligned.m64n160k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
        "}, %80, %81, p, 1, 1, 0, 0; }"
        : SLUICE_SUMS_64(d, 0), SLUICE_SUMS_8(d, 64), SLUICE_SUMS_8(d, 72)
        : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// d += a . b: a of 64 rows in registers, b 16 rows of kColumns in shared memory.
template <int kColumns>
__device__ __forceinline__ void multiply_columns(float (&d)[kColumns / 2], const uint32_t* a, uint64_t b);

template <>
__device__ __forceinline__ void multiply_columns<64>(float (&d)[32], const uint32_t* a, uint64_t b) {
    asm volatile(
        "{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
        "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1; }"
        : SLUICE_SUMS_32(d, 0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <>
__device__ __forceinline__ void multiply_columns<128>(float (&d)[64], const uint32_t* a, uint64_t b) {
    asm volatile(
        "{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1; }"
        : SLUICE_SUMS_64(d, 0)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <>
__device__ __forceinline__ void multiply_columns<256>(float (&d)[128], const uint32_t* a, uint64_t b) {
    asm volatile(
        "{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
        "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
        "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
        "}, {%128, %129, %130, %131}, %132, p, 1, 1, 1; }"
        : SLUICE_SUMS_64(d, 0), SLUICE_SUMS_64(d, 64)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef SLUICE_SUMS_8
#undef SLUICE_SUMS_32
#undef SLUICE_SUMS_64

}  // namespace sluice::cuda
