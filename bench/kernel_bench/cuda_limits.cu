// The limits of a card: an elementwise copy and a read of 2 GiB by kernels of its own, and cuBLAS where the machine has
// it, else the product that Sluice has.

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <memory>
#include <vector>

#include "bench/kernel_bench/limits.h"
#include "bench/kernel_bench/timing.h"
#include "bench/random_data.h"

namespace sluice::bench {

namespace {

constexpr uint64_t kBytes = uint64_t{2} << 30;
constexpr int kThreads = 512, kUnroll = 8;
constexpr int64_t kEdge = 8192;

struct FreeOnDevice {
    void operator()(void* memory) const { (void)cudaFree(memory); }
};
using DeviceMemory = std::unique_ptr<void, FreeOnDevice>;

// Null where there is no room.
DeviceMemory device_memory(uint64_t bytes) {
    void* memory = nullptr;
    if (cudaMalloc(&memory, bytes) != cudaSuccess) return nullptr;
    (void)cudaMemset(memory, 1, bytes);
    return DeviceMemory(memory);
}

__global__ void __launch_bounds__(kThreads) copy_kernel(const float4* from, float4* to, int64_t count) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= count) return;
    float4 value = __ldcs(from + i);
    value.x += 1;
    __stcs(to + i, value);
}

// A block reads what lies together; nothing is written, which the compiler cannot know.
__global__ void __launch_bounds__(kThreads) read_kernel(const uint4* from, int64_t count, uint32_t never, uint4* out) {
    uint4 all{};
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads * kUnroll + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * kThreads * kUnroll) {
        uint4 values[kUnroll];
#pragma unroll
        for (int j = 0; j < kUnroll; ++j) values[j] = i + j * kThreads < count ? __ldcs(from + i + j * kThreads) : all;
#pragma unroll
        for (int j = 0; j < kUnroll; ++j) {
            all.x ^= values[j].x, all.y ^= values[j].y, all.z ^= values[j].z, all.w ^= values[j].w;
        }
    }
    if (all.x == never && all.y == never) *out = all;
}

void wait_for_card() {
    (void)cudaDeviceSynchronize();
}

// cuBLAS opened at run time: y = w . x^T, BF16 with sums in F32.
class Cublas {
  public:
    Cublas() {
        for (const char* name : {"libcublas.so.13", "libcublas.so.12", "/usr/local/cuda/lib64/libcublas.so.13",
                                 "/usr/local/cuda/lib64/libcublas.so.12",
                                 "/opt/torch/.venv/lib/python3.12/site-packages/nvidia/cu13/lib/libcublas.so.13"}) {
            void* const library = dlopen(name, RTLD_NOW);
            if (library == nullptr) continue;
            const auto create = reinterpret_cast<int (*)(void**)>(dlsym(library, "cublasCreate_v2"));
            multiply_ = reinterpret_cast<Multiply>(dlsym(library, "cublasGemmEx"));
            if (create == nullptr || multiply_ == nullptr || create(&handle_) != 0) handle_ = nullptr;
            if (handle_ != nullptr) return;
        }
    }
    bool found() const { return handle_ != nullptr; }

    bool multiply(const void* w, const void* x, void* y, int edge) const {
        constexpr int kTransposed = 1, kPlain = 0, kBf16 = 14, kSumsF32 = 68, kAnyAlgorithm = -1;
        const float one = 1, zero = 0;
        return multiply_(handle_, kTransposed, kPlain, edge, edge, edge, &one, w, kBf16, edge, x, kBf16, edge, &zero, y,
                         kBf16, edge, kSumsF32, kAnyAlgorithm) == 0;
    }

  private:
    using Multiply = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                             const void*, void*, int, int, int, int);
    void* handle_ = nullptr;
    Multiply multiply_ = nullptr;
};

double flops_of(double seconds) {
    return 2.0 * kEdge * kEdge * kEdge / seconds;
}

void measure_products(Backend& backend, Limits& limits) {
    const WeightFormat bf16 = WeightFormat::floating(DType::kBF16);
    const Cublas cublas;
    if (cublas.found()) {
        std::vector<DeviceMemory> matrices;
        for (int i = 0; i < 3; ++i) matrices.push_back(device_memory(2 * kEdge * kEdge));
        // Random numbers: the card is faster on others.
        const Weight numbers = random_weight(backend, bf16, kEdge, kEdge);
        const Tensor staged = make_tensor(numbers.data.buffer, DType::kF32, kEdge, kEdge / 2);
        std::vector<std::byte> host(2 * kEdge * kEdge);
        backend.download(staged.buffer, 0, host);
        backend.wait();
        bool done = true;
        for (int i = 0; i < 2; ++i) {
            done =
                done && cudaMemcpy(matrices[i].get(), host.data(), host.size(), cudaMemcpyHostToDevice) == cudaSuccess;
        }
        const Timing timing = time_launches(
            [&] { done = done && cublas.multiply(matrices[0].get(), matrices[1].get(), matrices[2].get(), kEdge); },
            wait_for_card);
        if (done) {
            limits.flops = flops_of(timing.seconds);
            limits.flops_by = "cuBLAS";
            return;
        }
    }
    const Weight weight = random_weight(backend, bf16, kEdge, kEdge);
    const Tensor x = random_tensor(backend, kEdge, kEdge);
    const Tensor out = make_tensor(backend.allocate(4 * kEdge * kEdge), DType::kF32, kEdge, kEdge);
    limits.flops = flops_of(
        time_launches([&] { backend.run(Linear{.x = x, .weight = weight, .out = out}); }, [&] { backend.wait(); })
            .seconds);
    limits.flops_by = "Sluice's own product";
}

}  // namespace

Limits cuda_limits(Backend& backend) {
    Limits limits;
    constexpr auto kCount = static_cast<int64_t>(kBytes / sizeof(float4));
    {
        const DeviceMemory from = device_memory(kBytes), to = device_memory(kBytes);
        if (from != nullptr && to != nullptr) {
            const auto* const source = static_cast<const float4*>(from.get());
            const auto copy = [&] {
                copy_kernel<<<static_cast<unsigned>(kCount / kThreads), kThreads>>>(
                    source, static_cast<float4*>(to.get()), kCount);
            };
            const auto read = [&] {
                constexpr unsigned kBlocks = 132 * 32;
                read_kernel<<<kBlocks, kThreads>>>(static_cast<const uint4*>(from.get()), kCount, 0x12345678,
                                                   static_cast<uint4*>(to.get()));
            };
            limits.copy_bytes = 2.0 * kBytes / time_launches(copy, wait_for_card).seconds;
            limits.read_bytes = 1.0 * kBytes / time_launches(read, wait_for_card).seconds;
        }
    }
    measure_products(backend, limits);
    return limits;
}

}  // namespace sluice::bench
