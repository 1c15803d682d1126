#pragma once

// Transfers of a few words that the device's queue makes itself: in order with its kernels, and the host waits for
// none.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::cuda {

constexpr uint64_t kMostFewBytes = 384;

// Whether they are few, and whole words at such a place.
inline bool are_few_words(const std::byte* place, uint64_t bytes) {
    return bytes > 0 && bytes <= kMostFewBytes && bytes % sizeof(uint32_t) == 0 &&
           reinterpret_cast<uint64_t>(place) % sizeof(uint32_t) == 0;
}
// `words` travel with the launch.
void store_few_words(cudaStream_t stream, std::span<const std::byte> words, std::byte* target);
// To pinned memory.
void fetch_few_words(cudaStream_t stream, const std::byte* source, uint64_t bytes, std::byte* pinned);

}  // namespace sluice::cuda
