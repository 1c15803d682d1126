// The experts of one row in two kernels: the choice with gates and ups, then downs with their sum. Both choose for
// themselves, so that nobody waits for ids. Experts are numbered by their logits, from the largest down; a shared one
// is one more, behind the chosen ones. Of both kernels all blocks have room at once, those of the first beside those of
// the second.

#include <algorithm>

#include "backend/cuda/affine_tiles.cuh"
#include "backend/cuda/arrivals.cuh"
#include "backend/cuda/early.cuh"
#include "backend/cuda/joined.h"
#include "backend/cuda/products.h"
#include "backend/cuda/routing.cuh"
#include "backend/cuda/shared_memory.h"
#include "backend/cuda/step_mlps.h"

namespace sluice::cuda {

namespace {

constexpr int kInWarps = 4, kInThreads = 32 * kInWarps, kInStages = 4;  // of gates and ups
constexpr int kSumWarps = 20, kSumStages = 1, kSumSplits = 8;           // of downs, at most
// So that the blocks of both fit a multiprocessor together.
constexpr int kInRegisters = 72, kSumRegisters = 64;
constexpr int kMostChosen = 16;

struct Packed {
    const uint8_t *data, *scales, *zero_points;

    __device__ __forceinline__ Packed further(uint64_t bytes) const {
        return {data + bytes, scales + bytes, zero_points + bytes};
    }
    // This one, or the other; by value, so that both stay in registers.
    __device__ __forceinline__ Packed or_if(bool take, const Packed& other) const {
        return {take ? other.data : data, take ? other.scales : scales, take ? other.zero_points : zero_points};
    }
};

struct ExpertMatrices {
    Packed gate, up, down;
};

// How a matrix of so many columns lies in memory.
struct PackedShape {
    int outputs, chunks, group_shift;
    uint32_t data_row_bytes, group_row_bytes;

    __device__ __forceinline__ PackedMatrix matrix(const Packed& packed) const {
        return {.data = packed.data,
                .groups = threadIdx.x % 32 < kOutputs ? packed.scales : packed.zero_points,
                .data_row_bytes = data_row_bytes,
                .group_row_bytes = group_row_bytes,
                .last_row = outputs - 1,
                .chunks = chunks,
                .group_shift = group_shift};
    }
};

struct StepExperts {
    RouteArgs route;
    ExpertMatrices chosen, shared;  // in slot 0; of the shared expert
    RecordPlaces places;
    Arrivals arrivals;
    int all;  // experts of the row: the shared one behind the chosen
    PackedShape in, down;
    ActivationKind activation;
    float alpha, limit, up_offset;
    const float* x;
    float* activated;  // [all, inner]
    Rows<float> parts;
    float* shared_part;
    const float* shared_gate;  // null: all of it
    bool accumulate;
    float* out;
    Sharing in_sharing, sum_sharing;
};

struct Chosen {
    int expert[kMostChosen], place[kMostChosen];
    float weight[kMostChosen];  // by place
};

__device__ __forceinline__ void stage_numbers(const StagedRows<1>& staged, int i, const float* from) {
    float x[8];
    load_eight(from + 8 * i, x);
    stage_eight(staged, i, 0, x);
}

// A block: 16 numbers that an expert has inside. Its tiles are of the gate and of the up.
template <int kPerLane>
__global__ void __maxnreg__(kInRegisters) experts_in_kernel(const __grid_constant__ StepExperts args) {
    extern __shared__ uint4 shared[];
    __shared__ int slots[kMostPlainExperts], chosen_expert;
    const int nth = blockIdx.y, chunks = args.in.chunks, first = blockIdx.x * kOutputs;
    const bool is_shared = nth == args.route.top_k;
    Stage* const stages = reinterpret_cast<Stage*>(shared);
    uint4* const words = reinterpret_cast<uint4*>(stages + kInWarps * args.in_sharing.stages);
    const StagedRows<1> staged(words, chunks);
    float* const partial = staged.end(chunks);
    ExpertMatrices expert = args.shared;
    // The next kernel reads what this one waited for before it waits itself.
    if (!is_shared) {
        for (int i = threadIdx.x; i < args.route.experts; i += kInThreads) slots[i] = slot_of(args.places, i);
        __syncthreads();
        wait_for_previous();
        let_next_begin();
        const bool fetches = args.arrivals.any();
        if (fetches && nth == 0 && blockIdx.x == 0 && threadIdx.x == 0) begin_layer(args.arrivals);
        if (threadIdx.x < 32) {
            LaneLogits<kPerLane> logits(args.route, args.route.logits[0]);
            unsigned largest = 0;
            int mine = 0;
#pragma unroll 1
            for (int n = 0; n <= nth; ++n) mine = logits.take_largest(largest);
            if (threadIdx.x == 0) chosen_expert = mine;
        } else {
#pragma unroll 1
            for (int i = threadIdx.x - 32; i < chunks * 8; i += kInThreads - 32) stage_numbers(staged, i, args.x);
        }
        __syncthreads();
        int chosen = slots[chosen_expert];
        if (fetches && chosen >= args.places.first_more) {
            chosen = fetched_slot(args.arrivals, args.places, chosen_expert, chosen);
        }
        const uint64_t place = place_of_slot(args.places, chosen);
        expert.gate = args.chosen.gate.further(place), expert.up = args.chosen.up.further(place);
    }
    multiply_tiles<1, false>(
        args.in_sharing, chunks, stages, partial,
        [&](int tile) {
            return Tile<1>{args.in.matrix(expert.gate.or_if(tile == 1, expert.up)), first, staged};
        },
        [&] {
            if (!is_shared) return;
            wait_for_previous();
            let_next_begin();
#pragma unroll 1
            for (int i = threadIdx.x; i < chunks * 8; i += kInThreads) stage_numbers(staged, i, args.x);
        });
    const int mine = threadIdx.x;
    if (mine >= kOutputs || first + mine >= args.in.outputs) return;
    const float gate = sum_of_spans<1>(args.in_sharing, chunks, partial, mine, 0);
    const float up = sum_of_spans<1>(args.in_sharing, chunks, partial, kOutputs + mine, 0);
    args.activated[nth * args.in.outputs + first + mine] =
        activated(args.activation, args.alpha, args.limit, args.up_offset, gate, up);
}

// A block: 16 outputs of all experts, and of their sum. The kernel before has waited for logits and shared gate.
template <int kPerLane>
__global__ void __maxnreg__(kSumRegisters) experts_sum_kernel(const __grid_constant__ StepExperts args) {
    extern __shared__ uint4 shared[];
    __shared__ Chosen chosen;
    let_next_begin();
    const int chunks = args.down.chunks, first = blockIdx.x * kOutputs, top_k = args.route.top_k;
    Stage* const stages = reinterpret_cast<Stage*>(shared);
    auto* const words = reinterpret_cast<uint4*>(stages + blockDim.x / 32 * args.sum_sharing.stages);
    // One row of all experts' numbers, as far as memory goes.
    const StagedRows<1> all_staged(words, args.all * chunks);
    float* const partial = all_staged.end(args.all * chunks);
    const auto staged_of = [&](int nth) { return all_staged.from(nth * chunks); };
    ChosenLogit mine;
    bool fetched = false;
    if (threadIdx.x < 32) {
        mine = choose_by_logits<kPerLane>(args.route, args.route.logits[0]);
        if (mine.expert != ChosenLogit::kNone) {
            const int slot = slot_of(args.places, mine.expert);
            chosen.expert[threadIdx.x] = slot;
            fetched = args.arrivals.any() && slot >= args.places.first_more;
        }
    }
    // What comes while the kernel before runs is there behind it.
    if (__syncthreads_or(fetched) != 0) {
        wait_for_previous();
        if (fetched) {
            int& slot = chosen.expert[threadIdx.x];
            slot = found_slot(args.arrivals, mine.expert, slot);
        }
        __syncthreads();
    }
    const int output = first + static_cast<int>(threadIdx.x);
    const bool ends = threadIdx.x < kOutputs && output < args.down.outputs;
    float before = 0, factor = 1;
    multiply_tiles<1, false>(
        args.sum_sharing, chunks, stages, partial,
        [&](int nth) {
            const bool is_shared = nth == top_k;
            const uint64_t place = is_shared ? 0 : place_of_slot(args.places, chosen.expert[nth]);
            const Packed packed = args.chosen.down.further(place).or_if(is_shared, args.shared.down);
            return Tile<1>{args.down.matrix(packed), first, staged_of(nth)};
        },
        [&] {
            if (threadIdx.x < 32) {
                const int at = place_of(args.route, mine);
                const float weight = weight_of(args.route, mine);
                if (mine.expert != ChosenLogit::kNone) {
                    chosen.place[threadIdx.x] = at;
                    chosen.weight[at] = weight;
                }
                if (ends && args.accumulate) before = __ldcg(args.out + output);
                if (args.shared_gate != nullptr) factor = sigmoid(__ldcg(args.shared_gate));
            }
            wait_for_previous();
            if (blockIdx.x == 0 && mine.expert != ChosenLogit::kNone) {
                const int at = chosen.place[threadIdx.x];
                args.route.ids[0][at] = mine.expert;
                args.route.weights[0][at] = chosen.weight[at];
            }
            const int eights = chunks * 8;
#pragma unroll 1
            for (int i = threadIdx.x; i < args.all * eights; i += blockDim.x) {
                const int nth = i / eights;
                stage_numbers(staged_of(nth), i % eights, args.activated + nth * chunks * kChunk);
            }
        });
    // Sums by place from here on.
    float* const parts = partial + spans_of(chunks) * args.sum_sharing.outputs();
#pragma unroll 1
    for (int i = threadIdx.x; i < args.all * kOutputs; i += blockDim.x) {
        const float sum = sum_of_spans<1>(args.sum_sharing, chunks, partial, i, 0);
        const int nth = i / kOutputs, at = nth < top_k ? chosen.place[nth] : nth, row = first + i % kOutputs;
        parts[at * kOutputs + i % kOutputs] = sum;
        if (row < args.down.outputs) (nth < top_k ? args.parts[at] : args.shared_part)[row] = sum;
    }
    __syncthreads();
    if (!ends) return;
    float sum = before;
    for (int at = 0; at < top_k; ++at) sum = fmaf(chosen.weight[at], parts[at * kOutputs + threadIdx.x], sum);
    if (args.all > top_k) sum = fmaf(factor, parts[top_k * kOutputs + threadIdx.x], sum);
    args.out[output] = sum;
}

// One format, too, for gates, ups and downs.
bool takes_matrices(const MlpGroup& mlp, const MlpGroup& first) {
    return takes_sizes(mlp, first) && mlp.down.format == mlp.up.format;
}

bool takes_route(const Route& route, const RoutedMlp& experts) {
    return route.logits.rows == 1 && route.groups == 1 && route.table.buffer == nullptr &&
           route.logits.columns <= kMostPlainExperts && arguments_of(route).by_chosen() &&
           same_place(route.ids, experts.ids);
}

bool takes_shared(const GatedMlp& shared, const RoutedMlp& experts) {
    return shared.groups.size() == 1 && shared.groups.front().all_rows() && shared.x.rows == 1 &&
           same_place(shared.x, experts.x) && alike(shared.activation, experts.activation) &&
           takes_matrices(shared.groups.front(), experts.records.expert);
}

bool takes_sum(const ExpertsStep& joined) {
    const CombineExperts& combine = *joined.combine;
    const bool sums = same_place(combine.parts, joined.experts->out) &&
                      same_place(combine.weights, joined.route->weights) && combine.out.rows == 1;
    if (joined.shared == nullptr) return sums;
    return sums && same_place(joined.added->x, joined.shared->out) && same_place(joined.added->out, combine.out);
}

bool takes(const ExpertsStep& joined) {
    const RoutedMlp& experts = *joined.experts;
    const MlpGroup& expert = experts.records.expert;
    return experts.ids.rows == 1 && experts.x.rows == 1 && experts.ids.columns < kMostChosen &&
           experts.activation.gated() && expert.up.columns % 128 == 0 && expert.down.columns % 128 == 0 &&
           takes_matrices(expert, expert) && takes_route(*joined.route, experts) && takes_sum(joined) &&
           (joined.shared == nullptr || takes_shared(*joined.shared, experts));
}

Packed packed(const Weight& weight, const RoutedMlp& op) {
    const Job job = job_of(weight, op.x, op.out);
    return {job.data, job.scales, job.zero_points};
}
ExpertMatrices matrices(const MlpGroup& mlp, const RoutedMlp& op) {
    return {packed(mlp.gate, op), packed(mlp.up, op), packed(mlp.down, op)};
}

bool aligned(const ExpertMatrices& matrices) {
    uintptr_t places = 0;
    for (const Packed& each : {matrices.gate, matrices.up, matrices.down}) {
        for (const uint8_t* part : {each.data, each.scales, each.zero_points}) {
            places |= reinterpret_cast<uintptr_t>(part);
        }
    }
    return places % 16 == 0;
}

PackedShape shape_of(const DeviceWeight& weight) {
    return {.outputs = static_cast<int>(weight.rows),
            .chunks = static_cast<int>(weight.columns / kChunk),
            .group_shift = weight.group_size == kChunk ? 0 : 1,
            .data_row_bytes = static_cast<uint32_t>(weight.data_row_bytes),
            .group_row_bytes = static_cast<uint32_t>(weight.scale_row_bytes)};
}

StepExperts step_arguments(Device& device, const ExpertsStep& joined) {
    const RoutedMlp& op = *joined.experts;
    const MlpGroup& expert = op.records.expert;
    StepExperts args{.route = arguments_of(*joined.route),
                     .chosen = matrices(expert, op),
                     .places = places_of(op.records),
                     .arrivals = arrivals_of(op.records),
                     .all = static_cast<int>(op.ids.columns),
                     .in = shape_of(device_weight(device, expert.up)),
                     .down = shape_of(device_weight(device, expert.down)),
                     .activation = op.activation.kind,
                     .alpha = op.activation.alpha,
                     .limit = op.activation.limit,
                     .up_offset = op.activation.up_offset,
                     .x = floats_at(op.x),
                     .parts = writable_rows_of(op.out),
                     .accumulate = joined.combine->accumulate,
                     .out = floats_at(joined.combine->out)};
    args.shared = args.chosen;
    if (joined.shared == nullptr) return args;
    ++args.all;
    args.shared = matrices(joined.shared->groups.front(), op);
    args.shared_part = floats_at(joined.shared->out);
    if (joined.added->gate.buffer != nullptr) args.shared_gate = floats_at(joined.added->gate);
    return args;
}

uint64_t row_bytes(const PackedShape& shape) {
    return StagedRows<1>::bytes(shape.chunks);
}

void share(StepExperts& args) {
    const int in_splits = splits_of(args.in.chunks, kInWarps);
    const int sum_splits = splits_of(args.down.chunks, kSumSplits);
    args.in_sharing = sharing_of(args.in.chunks, in_splits, kInWarps / in_splits, 2, kInStages);
    args.sum_sharing =
        sharing_of(args.down.chunks, sum_splits, std::min(args.all, kSumWarps / sum_splits), args.all, kSumStages);
}

template <int kPerLane>
bool run(Device& device, StepExperts& args) {
    share(args);
    const auto all = static_cast<uint64_t>(args.all);
    const int sum_warps = args.sum_sharing.splits * args.sum_sharing.at_once;
    const uint64_t in_bytes =
        stage_bytes(args.in_sharing) + row_bytes(args.in) + partial_bytes(args.in_sharing, args.in.chunks, 1);
    const uint64_t sum_bytes = stage_bytes(args.sum_sharing) + all * row_bytes(args.down) +
                               partial_bytes(args.sum_sharing, args.down.chunks, 1) + all * kOutputs * sizeof(float);
    if (!allow_shared_bytes(device, reinterpret_cast<const void*>(experts_in_kernel<kPerLane>), in_bytes) ||
        !allow_shared_bytes(device, reinterpret_cast<const void*>(experts_sum_kernel<kPerLane>), sum_bytes)) {
        return false;
    }
    args.activated = reinterpret_cast<float*>(device.scratch(all * static_cast<uint64_t>(args.in.outputs) * 4));
    const dim3 in_grid(blocks_for(args.in.outputs, kOutputs), static_cast<unsigned>(args.all));
    launch_early(device, {in_grid, kInThreads, in_bytes}, experts_in_kernel<kPerLane>, args);
    const Launch sum{blocks_for(args.down.outputs, kOutputs), static_cast<unsigned>(32 * sum_warps), sum_bytes};
    launch_early(device, sum, experts_sum_kernel<kPerLane>, args);
    return true;
}

}  // namespace

bool compute_joined(Device& device, const ExpertsStep& joined) {
    if (device.exact() || !takes(joined)) return false;
    StepExperts args = step_arguments(device, joined);
    const DeviceWeight weight = device_weight(device, joined.experts->records.expert.up);
    if (!aligned(args.chosen) || !aligned(args.shared) || args.places.slot_bytes % 16 != 0 ||
        args.places.more % 16 != 0 || weight.scale_type != ScaleType::kBf16 || args.in.group_row_bytes % 8 != 0 ||
        args.down.group_row_bytes % 8 != 0 || (weight.group_size != 64 && weight.group_size != 128)) {
        return false;
    }
    return args.route.experts <= 256 ? run<8>(device, args) : run<16>(device, args);
}

}  // namespace sluice::cuda
