// Routers: a warp per row. Scores are computed in double and rounded once, as the definition does, so that ties fall
// the same way.

#include "backend/cuda/early.cuh"
#include "backend/cuda/routing.cuh"

namespace sluice::cuda {

namespace {

__device__ double score_of(RouterScore score, float logit) {
    const auto x = static_cast<double>(logit);
    double value = 0;
    if (score == RouterScore::kSigmoid) {
        value = 1.0 / (1.0 + exp(-x));
    } else {
        value = sqrt(x > 30.0 ? x : log1p(exp(x)));
    }
    return static_cast<double>(static_cast<float>(value));
}

// A value and its place; the largest value wins, of equal ones the first place.
struct Candidate {
    float value;
    int place;
};
__device__ Candidate better(Candidate a, Candidate b) {
    if (a.place < 0) return b;
    if (b.place < 0) return a;
    if (a.value != b.value) return a.value > b.value ? a : b;
    return a.place < b.place ? a : b;
}
__device__ Candidate warp_best(Candidate mine) {
    for (int step = 16; step > 0; step /= 2) {
        const Candidate other{__shfl_xor_sync(kAllLanes, mine.value, step),
                              __shfl_xor_sync(kAllLanes, mine.place, step)};
        mine = better(mine, other);
    }
    return mine;
}

enum State : unsigned char { kSelectable, kChosen, kOut };

// Marks the `count` largest of those that are selectable.
__device__ void choose_largest(const float* values, unsigned char* state, int size, int count) {
    const int lane = threadIdx.x % 32;
    for (int n = 0; n < count; ++n) {
        Candidate mine{0, -1};
        for (int i = lane; i < size; i += 32) {
            if (state[i] == kSelectable) mine = better(mine, {values[i], i});
        }
        const Candidate best = warp_best(mine);
        if (best.place >= 0 && lane == best.place % 32) state[best.place] = kChosen;
        __syncwarp();
    }
}

__device__ void keep_groups(const RouteArgs& args, const float* choice, unsigned char* state, float* worth,
                            unsigned char* kept) {
    const int lane = threadIdx.x % 32, size = args.experts / args.groups;
    for (int g = lane; g < args.groups; g += 32) {
        float first = -INFINITY, second = -INFINITY;
        for (int i = g * size; i < (g + 1) * size; ++i) {
            if (choice[i] > first) {
                second = first;
                first = choice[i];
            } else if (choice[i] > second) {
                second = choice[i];
            }
        }
        worth[g] = size == 1 ? first : first + second;
        kept[g] = kSelectable;
    }
    __syncwarp();
    choose_largest(worth, kept, args.groups, args.groups_kept);
    for (int e = lane; e < args.experts; e += 32) state[e] = kept[e / size] == kChosen ? kSelectable : kOut;
    __syncwarp();
}

// Scores before they are divided by what is returned.
__device__ double score_row(const RouteArgs& args, const float* logits, double* values) {
    const int lane = threadIdx.x;
    if (args.score != RouterScore::kSoftmax) {
        for (int e = lane; e < args.experts; e += 32) values[e] = score_of(args.score, logits[e]);
        return 1;
    }
    float largest = -INFINITY;
    for (int e = lane; e < args.experts; e += 32) largest = fmaxf(largest, logits[e]);
    largest = warp_max(largest);
    double sum = 0;
    for (int e = lane; e < args.experts; e += 32) {
        values[e] = exp(static_cast<double>(logits[e]) - static_cast<double>(largest));
        sum += values[e];
    }
    return warp_sum_double(sum);
}

__device__ void write_route(const RouteArgs& args, int64_t row, int at, int expert, double share) {
    args.ids[row][at] = expert;
    args.weights[row][at] = args.weight_of(expert, share);
}

// Chosen experts in ascending order and their weights.
__device__ void write_routes(const RouteArgs& args, const double* values, const unsigned char* state, double whole,
                             int64_t row) {
    const int lane = threadIdx.x;
    double chosen = 0;
    for (int e = lane; e < args.experts; e += 32) chosen += state[e] == kChosen ? values[e] : 0.0;
    const double divisor = args.normalize ? warp_sum_double(chosen) + 1e-20 : whole;
    int written = 0;
    for (int first = 0; first < args.experts; first += 32) {
        const int e = first + lane;
        const bool mine = e < args.experts && state[e] == kChosen;
        const unsigned all = __ballot_sync(kAllLanes, mine);
        if (mine) {
            write_route(args, row, written + __popc(all & ((1u << lane) - 1)), e, values[e] / divisor);
        }
        written += __popc(all);
    }
}

__global__ void route_kernel(const RouteArgs args) {
    extern __shared__ double shared[];
    double* const values = shared;
    auto* const choice = reinterpret_cast<float*>(values + args.experts);
    float* const worth = choice + args.experts;
    auto* const state = reinterpret_cast<unsigned char*>(worth + args.groups);
    unsigned char* const kept = state + args.experts;
    const int lane = threadIdx.x;
    const int64_t row = blockIdx.x;
    const float* const logits = args.logits[row];
    const double whole = score_row(args, logits, values);
    __syncwarp();
    // Softmax keeps the order of the logits, so that the choice needs no rounding.
    for (int e = lane; e < args.experts; e += 32) {
        choice[e] = args.by_logits ? logits[e]
                                   : static_cast<float>(values[e] / whole) + (args.bias == nullptr ? 0 : args.bias[e]);
        state[e] = kSelectable;
    }
    __syncwarp();
    if (args.groups > 1) keep_groups(args, choice, state, worth, kept);
    choose_largest(choice, state, args.experts, args.top_k);
    write_routes(args, values, state, whole, row);
}

// The experts that a table has for the row's token, which may name one twice.
__global__ void route_named_kernel(const RouteArgs args, Rows<const int32_t> tokens, Rows<const int32_t> table) {
    extern __shared__ double values[];
    const int64_t row = blockIdx.x;
    const double whole = score_row(args, args.logits[row], values);
    __syncwarp();
    const int32_t* const named = table[tokens[row][0]];
    double sum = 1e-20;
    for (int j = 0; j < args.top_k; ++j) sum += values[named[j]];
    for (int j = threadIdx.x; j < args.top_k; j += 32)
        write_route(args, row, j, named[j], values[named[j]] / (args.normalize ? sum : whole));
}

// Chosen experts of a row in ascending order by a warp, whatever the scores: write(at, expert, weight).
template <int kPerLane, typename Write>
__device__ __forceinline__ void choose_by_scores(const RouteArgs& args, const float* logits, const Write& write) {
    const int lane = threadIdx.x % 32;
    float logit[kPerLane];
    float largest = -INFINITY;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
        const int e = lane + 32 * i;
        logit[i] = e < args.experts ? __ldcg(logits + e) : -INFINITY;
        largest = fmaxf(largest, logit[i]);
    }
    const bool softmax = args.score == RouterScore::kSoftmax;
    if (softmax) largest = warp_max(largest);
    const auto value_of = [&](float x) {
        return softmax ? exp(static_cast<double>(x) - static_cast<double>(largest)) : score_of(args.score, x);
    };
    // Where logits choose and the chosen alone are summed, nobody asks for the others' values.
    const bool all_wanted = !args.by_logits || !args.normalize;
    double value[kPerLane];
    double whole = 1;
    if (all_wanted) {
        double sum = 0;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
            value[i] = value_of(logit[i]);
            if (lane + 32 * i < args.experts) sum += value[i];
        }
        if (softmax) whole = warp_sum_double(sum);
    }
    unsigned key[kPerLane];  // 0: none, or chosen before
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
        const int e = lane + 32 * i;
        float choice = logit[i];
        if (!args.by_logits && e < args.experts)
            choice = static_cast<float>(value[i] / whole) + (args.bias == nullptr ? 0 : args.bias[e]);
        key[i] = e < args.experts ? max(ordered(choice), 1u) : 0;
    }
    unsigned chosen = 0;  // a bit for each of the lane's
    for (int n = 0; n < args.top_k; ++n) {
        unsigned best = 0;
        int place = 0;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
            if (key[i] > best) best = key[i], place = i;
        }
        const unsigned of_all = __reduce_max_sync(kAllLanes, best);
        const unsigned expert = best == of_all ? static_cast<unsigned>(lane + 32 * place) : ~0u;
        const unsigned first = __reduce_min_sync(kAllLanes, expert);
        if (of_all == 0 || expert != first) continue;
        chosen |= 1u << place;
#pragma unroll
        for (int i = 0; i < kPerLane; ++i) {
            if (i == place) key[i] = 0;
        }
    }
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
        if ((chosen >> i & 1) == 0) continue;
        if (!all_wanted) value[i] = value_of(logit[i]);
        sum += value[i];
    }
    const double divisor = args.normalize ? warp_sum_double(sum) + 1e-20 : whole;
    int written = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
        const bool mine = (chosen >> i & 1) != 0;
        const unsigned all = __ballot_sync(kAllLanes, mine);
        if (mine) {
            const int expert = lane + 32 * i;
            write(written + __popc(all & ((1u << lane) - 1)), expert, args.weight_of(expert, value[i] / divisor));
        }
        written += __popc(all);
    }
}

template <int kPerLane>
__global__ void route_plain_kernel(const RouteArgs args) {
    let_next_begin();
    wait_for_previous();
    const int64_t row = blockIdx.x;
    const auto write = [&](int at, int expert, float weight) {
        args.ids[row][at] = expert;
        args.weights[row][at] = weight;
    };
    if (args.by_chosen()) {
        const ChosenLogit mine = choose_by_logits<kPerLane>(args, args.logits[row]);
        const int place = place_of(args, mine);
        const float weight = weight_of(args, mine);
        if (mine.expert != ChosenLogit::kNone) write(place, mine.expert, weight);
    } else {
        choose_by_scores<kPerLane>(args, args.logits[row], write);
    }
}

}  // namespace

RouteArgs arguments_of(const Route& op) {
    return {.logits = rows_of(op.logits),
            .bias = op.bias.buffer == nullptr ? nullptr : rows_of(op.bias).first,
            .expert_scale = op.expert_scale.buffer == nullptr ? nullptr : rows_of(op.expert_scale).first,
            .score = op.score,
            .experts = static_cast<int>(op.logits.columns),
            .groups = static_cast<int>(op.groups),
            .groups_kept = static_cast<int>(op.groups_kept),
            .top_k = static_cast<int>(op.ids.columns),
            .normalize = op.normalize,
            .by_logits = op.score == RouterScore::kSoftmax && op.plain_choice(),
            .scale = op.scale,
            .ids = elements_of<int32_t>(op.ids),
            .weights = writable_rows_of(op.weights)};
}

void compute(Device& device, const Route& op) {
    if (op.logits.rows == 0) return;
    const RouteArgs args = arguments_of(op);
    const auto rows = static_cast<unsigned>(op.logits.rows);
    const bool named = op.table.buffer != nullptr;
    if (!named && args.is_plain()) {
        auto* const kernel = args.experts <= 128   ? route_plain_kernel<4>
                             : args.experts <= 256 ? route_plain_kernel<8>
                                                   : route_plain_kernel<16>;
        return launch_early(device, {rows, 32}, kernel, args);
    }
    const size_t shared = static_cast<size_t>(args.experts) * (sizeof(double) + sizeof(float) + 1) +
                          static_cast<size_t>(args.groups) * (sizeof(float) + 1);
    if (shared > 48 << 10) refuse("Route on CUDA: 3500 experts are the most");
    if (named) {
        route_named_kernel<<<rows, 32, shared, device.stream()>>>(args, ints_of(op.tokens), ints_of(op.table));
        return check_launch("Route");
    }
    route_kernel<<<rows, 32, shared, device.stream()>>>(args);
    check_launch("Route");
}

}  // namespace sluice::cuda
