// What a row will probably choose of the next layer comes to slots of the card while this one is computed: a few blocks
// without much of a multiprocessor, beside all other kernels.

#include "backend/cuda/arrivals.cuh"
#include "backend/cuda/products.h"
#include "backend/cuda/routing.cuh"

namespace sluice::cuda {

namespace {

constexpr int kFetchBlocks = 32, kFetchThreads = 64;
constexpr int64_t kMostFetched = 32;

struct Fetch {
    const float* logits;
    int experts, top_k;
    RecordPlaces places;
    Arrivals arrivals;
};

template <int kPerLane>
__global__ void __launch_bounds__(kFetchThreads) fetch_kernel(const __grid_constant__ Fetch args) {
    __shared__ int likely[kMostFetched];
    __shared__ ArrivalEntry* claimed;
    let_next_begin();
    wait_for_previous();
    if (threadIdx.x < 32) {
        RouteArgs route{};
        route.experts = args.experts;
        LaneLogits<kPerLane> logits(route, args.logits);
        unsigned largest = 0;
#pragma unroll 1
        for (int n = 0; n < args.top_k; ++n) {
            const int expert = logits.take_largest(largest);
            if (threadIdx.x == 0) likely[n] = expert;
        }
    }
    __syncthreads();
    for (int n = 0; n < args.top_k; ++n) {
        const int expert = likely[n], slot = slot_of(args.places, expert);
        if (slot < args.places.first_more) continue;
        if (threadIdx.x == 0) claimed = has_begun(args.arrivals) ? nullptr : claim_entry(args.arrivals, expert);
        __syncthreads();
        ArrivalEntry* const entry = claimed;
        if (entry == nullptr) return;
        copy_pieces(args.arrivals, args.places, slot, entry, true);
    }
}

}  // namespace

Arrivals arrivals_of(const ExpertRecords& records) {
    if (!records.arrivals.any() || records.more.buffer == nullptr) return {};
    const auto at = [](const Tensor& tensor) { return device_bytes(tensor.buffer) + tensor.offset; };
    return {.claims = reinterpret_cast<int32_t*>(at(records.arrivals.claims)),
            .entries = reinterpret_cast<ArrivalEntry*>(at(records.arrivals.entries)),
            .slots = reinterpret_cast<uint8_t*>(device_bytes(records.expert.up.data.buffer)),
            .experts = static_cast<int32_t>(records.slots.rows),
            .number = static_cast<int32_t>(records.arrivals.number),
            .pieces = arrival_pieces(records.slot_bytes)};
}

void compute(Device& device, const FetchExperts& op) {
    const Fetch args{.logits = floats_at(op.logits),
                     .experts = static_cast<int>(op.logits.columns),
                     .top_k = static_cast<int>(op.top_k),
                     .places = places_of(op.records),
                     .arrivals = arrivals_of(op.records)};
    if (!args.arrivals.any() || args.experts > kMostPlainExperts || op.top_k > kMostFetched) return;
    auto* const kernel = args.experts <= 256 ? fetch_kernel<8> : fetch_kernel<16>;
    launch_early(device, {kFetchBlocks, kFetchThreads}, kernel, args);
}

}  // namespace sluice::cuda
