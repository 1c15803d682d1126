#pragma once

// Records of experts that come to slots of the card over the link while a step runs: see ExpertArrivals. Blocks that
// want a record copy its pieces, each the next one that nobody has, and wait for those that others have: whoever has
// one is running, so that nobody waits for a block that has not begun.

#include "backend/cuda/early.cuh"
#include "backend/cuda/linear.h"
#include "backend/cuda/product.cuh"
#include "backend/operations/arrival_entry.h"

namespace sluice::cuda {

constexpr int kUnclaimed = 0, kBeingClaimed = -1, kNoEntryLeft = -2;
constexpr int kMostWaits = 1 << 25;  // some seconds: then the card reports an error

struct Arrivals {
    int32_t* claims;  // [experts + 1]; null: nothing comes
    ArrivalEntry* entries;
    uint8_t* slots;  // of the card
    int32_t experts, number, pieces;

    __host__ __device__ bool any() const { return claims != nullptr; }
};
Arrivals arrivals_of(const ExpertRecords& records);

__device__ __forceinline__ int load_acquire(const int32_t* place) {
    int value;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(place) : "memory");
    return value;
}
__device__ __forceinline__ void store_release(int32_t* place, int value) {
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(place), "r"(value) : "memory");
}

// By one thread: waits while `goes_on(value)`, and returns the last value.
template <typename GoesOn>
__device__ __forceinline__ int wait_while(const int32_t* place, const GoesOn& goes_on) {
    int value = load_acquire(place);
    for (int waits = 0; goes_on(value); value = load_acquire(place)) {
        if (++waits > kMostWaits) __trap();
        __nanosleep(50);
    }
    return value;
}

// Nobody fetches what the layer might want from now on.
__device__ __forceinline__ void begin_layer(const Arrivals& arrivals) {
    store_release(arrivals.claims + arrivals.experts, 1);
}
__device__ __forceinline__ bool has_begun(const Arrivals& arrivals) {
    return load_acquire(arrivals.claims + arrivals.experts) != 0;
}

// By one thread: the entry of an expert that is not on the card; null: there is none left.
__device__ __forceinline__ ArrivalEntry* claim_entry(const Arrivals& arrivals, int expert) {
    int32_t* const claim = arrivals.claims + expert;
    int state = load_acquire(claim);
    if (state == kUnclaimed) state = atomicCAS(claim, kUnclaimed, kBeingClaimed);
    if (state == kUnclaimed) {
        const int nth = atomicAdd(&arrivals.entries->slot, 1);
        state = nth < arrivals.entries->number ? nth + 1 : kNoEntryLeft;
        if (state > 0) {
            arrivals.entries[state].number = arrivals.number + expert;
            arrivals.entries[state].left = arrivals.pieces;
        }
        store_release(claim, state);
    }
    if (state == kBeingClaimed) state = wait_while(claim, [](int value) { return value == kBeingClaimed; });
    return state > 0 ? arrivals.entries + state : nullptr;
}

// By a block: copies pieces of the record in `far` until none is left to take, or the layer begins and `gives_up`.
__device__ __noinline__ inline void copy_pieces(const Arrivals& arrivals, const RecordPlaces& places, int far,
                                                ArrivalEntry* entry, bool gives_up) {
    __shared__ int next;
    constexpr int kAtOnce = 8;
    const uint8_t* const from = arrivals.slots + place_of_slot(places, far);
    uint8_t* const to = arrivals.slots + static_cast<uint64_t>(entry->slot) * places.slot_bytes;
    while (true) {
        if (threadIdx.x == 0) {
            next = gives_up && has_begun(arrivals) ? arrivals.pieces : atomicAdd(&entry->taken, 1);
        }
        __syncthreads();
        const int piece = next;
        if (piece >= arrivals.pieces) break;
        const uint64_t begin = static_cast<uint64_t>(piece) * kArrivalBytes;
        const uint64_t end = min(begin + kArrivalBytes, places.slot_bytes);
        for (uint64_t first = begin + threadIdx.x * sizeof(uint4); first < end;
             first += kAtOnce * blockDim.x * sizeof(uint4)) {
            uint4 held[kAtOnce];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const uint64_t at = first + i * blockDim.x * sizeof(uint4);
                if (at < end) held[i] = __ldcs(reinterpret_cast<const uint4*>(from + at));
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                const uint64_t at = first + i * blockDim.x * sizeof(uint4);
                if (at < end) *reinterpret_cast<uint4*>(to + at) = held[i];
            }
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) atomicSub(&entry->left, 1);
    }
    __syncthreads();
}

// By a block: where an expert is that stands in `far` of the other memory, once it has come; there, if it does not.
__device__ __noinline__ inline int fetched_slot(const Arrivals& arrivals, const RecordPlaces& places, int expert,
                                                int far) {
    __shared__ ArrivalEntry* claimed;
    if (threadIdx.x == 0) claimed = claim_entry(arrivals, expert);
    __syncthreads();
    ArrivalEntry* const entry = claimed;
    if (entry == nullptr) return far;
    copy_pieces(arrivals, places, far, entry, false);
    if (threadIdx.x == 0) (void)wait_while(&entry->left, [](int left) { return left > 0; });
    __syncthreads();
    return entry->slot;
}

// By one thread, after those who fetched it: the same.
__device__ __forceinline__ int found_slot(const Arrivals& arrivals, int expert, int far) {
    const int entry = load_acquire(arrivals.claims + expert);
    return entry > 0 ? arrivals.entries[entry].slot : far;
}

}  // namespace sluice::cuda
