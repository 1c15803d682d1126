#include "backend/cuda/few_words.h"

#include <cstring>

#include "backend/cuda/device.h"

namespace sluice::cuda {

namespace {

constexpr int kWordThreads = kMostFewBytes / sizeof(uint32_t);

struct FewWords {
    uint32_t words[kWordThreads];
};

__global__ void __launch_bounds__(kWordThreads)
    store_words_kernel(const __grid_constant__ FewWords few, int count, uint32_t* target) {
    const int i = threadIdx.x;
    if (i < count) target[i] = few.words[i];
}

__global__ void __launch_bounds__(kWordThreads)
    fetch_words_kernel(const uint32_t* source, int count, uint32_t* pinned) {
    const int i = threadIdx.x;
    if (i < count) pinned[i] = source[i];
}

}  // namespace

void store_few_words(cudaStream_t stream, std::span<const std::byte> words, std::byte* target) {
    FewWords few{};
    std::memcpy(few.words, words.data(), words.size());
    const auto count = static_cast<int>(words.size() / sizeof(uint32_t));
    store_words_kernel<<<1, kWordThreads, 0, stream>>>(few, count, reinterpret_cast<uint32_t*>(target));
    check(cudaGetLastError(), "storing a few words");
}

void fetch_few_words(cudaStream_t stream, const std::byte* source, uint64_t bytes, std::byte* pinned) {
    const auto count = static_cast<int>(bytes / sizeof(uint32_t));
    fetch_words_kernel<<<1, kWordThreads, 0, stream>>>(reinterpret_cast<const uint32_t*>(source), count,
                                                       reinterpret_cast<uint32_t*>(pinned));
    check(cudaGetLastError(), "fetching a few words");
}

}  // namespace sluice::cuda
