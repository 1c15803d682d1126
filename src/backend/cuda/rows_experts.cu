// The experts of a step of several rows: who was chosen, each with its rows, so that its weights are read once. A
// kernel chooses and lists, one has gates and ups, one downs. A shared expert is one more, of all rows.

#include <algorithm>

#include "backend/cuda/affine_tiles.cuh"
#include "backend/cuda/early.cuh"
#include "backend/cuda/joined.h"
#include "backend/cuda/products.h"
#include "backend/cuda/routing.cuh"
#include "backend/cuda/shared_memory.h"
#include "backend/cuda/step_mlps.h"

namespace sluice::cuda {

namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps, kStages = 2;
constexpr int kJobRows = 4;     // one product of tensor cores
constexpr int kInPairs = 4;     // tiles of gates, and of ups, of a block
constexpr int kDownTiles = 16;  // of a block
constexpr int kListThreads = 1024, kMostChoices = 32 * kMostStepRows;

// Up to kJobRows rows of an expert, whose record begins at `place`. An entry is the number of a choice, or of a row
// where the expert is shared. As it lies in memory: two accesses.
struct alignas(16) RowsJob {
    uint64_t place;
    int32_t count, shared;
    int32_t entries[kJobRows];

    // Of registers.
    __device__ __forceinline__ int entry(int t) const {
        return t < 2 ? (t == 0 ? entries[0] : entries[1]) : (t == 2 ? entries[2] : entries[3]);
    }
};

struct Packed {
    const uint8_t *data, *scales, *zero_points;
};

// A matrix of the record in slot 0, and the shared expert's, of one shape.
struct ExpertMatrix {
    Packed chosen, shared;
    int outputs, chunks, group_shift;
    uint32_t data_row_bytes, group_row_bytes;
};

__host__ __device__ inline Sharing sharing_of(int chunks, int tiles) {
    const int splits = splits_of(chunks, kWarps);
    return {splits, kWarps / splits, tiles, kStages};
}

uint64_t shared_bytes(int chunks, int tiles) {
    return kWarps * kStages * sizeof(Stage) + StagedRows<kJobRows>::bytes(chunks) +
           partial_bytes(sharing_of(chunks, tiles), chunks, kJobRows);
}

struct RowsExperts {
    RouteArgs route;  // of choices that are known the ids alone
    int experts;
    int rows, shared_jobs;
    ExpertMatrix gate, up, down;
    RecordPlaces places;
    ActivationKind activation;
    float alpha, limit, up_offset;
    Rows<const float> x;
    float* activated;  // [choices and rows, inner]
    Rows<float> parts, shared_parts;
    RowsJob* jobs;  // without shared ones, which come first
    int most_jobs;

    uint64_t in_bytes() const { return shared_bytes(up.chunks, 2 * kInPairs); }
    uint64_t down_bytes() const { return shared_bytes(down.chunks, kDownTiles); }
    __device__ int choices() const { return rows * route.top_k; }
    // The nth job; of no rows: there is none.
    __device__ RowsJob job(int nth) const {
        RowsJob job{};
        if (nth < shared_jobs) {
            job.shared = 1;
            job.count = min(kJobRows, rows - nth * kJobRows);
            for (int i = 0; i < kJobRows; ++i) job.entries[i] = nth * kJobRows + i;
            return job;
        }
        const auto* const from = reinterpret_cast<const int4*>(jobs + nth - shared_jobs);
        const int4 head = __ldcg(from), entries = __ldcg(from + 1);
        job.place = static_cast<uint64_t>(static_cast<uint32_t>(head.y)) << 32 | static_cast<uint32_t>(head.x);
        job.count = head.z;
        job.entries[0] = entries.x, job.entries[1] = entries.y, job.entries[2] = entries.z, job.entries[3] = entries.w;
        return job;
    }
    __device__ int activated_row(const RowsJob& job, int t) const {
        return job.shared != 0 ? choices() + job.entry(t) : job.entry(t);
    }
};

__device__ __forceinline__ PackedMatrix matrix_of(const ExpertMatrix& matrix, const RowsJob& job) {
    const Packed& packed = job.shared != 0 ? matrix.shared : matrix.chosen;
    return {.data = packed.data + job.place,
            .groups = (threadIdx.x % 32 < kOutputs ? packed.scales : packed.zero_points) + job.place,
            .data_row_bytes = matrix.data_row_bytes,
            .group_row_bytes = matrix.group_row_bytes,
            .last_row = matrix.outputs - 1,
            .chunks = matrix.chunks,
            .group_shift = matrix.group_shift};
}

// The sum of what threads before this one of the block have; `sums` has a place for every warp.
__device__ __forceinline__ int sum_before(int value, int* sums) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int running = value;
    for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(kAllLanes, running, step);
        if (lane >= step) running += below;
    }
    if (lane == 31) sums[warp] = running;
    __syncthreads();
    int before = running - value;
    for (int w = 0; w < warp; ++w) before += sums[w];
    return before;
}

// One block: jobs by expert, choices in ascending order. Without kPerLane choices are known, else a warp chooses for a
// row.
template <int kPerLane>
__global__ void __launch_bounds__(kListThreads, 1) list_kernel(const __grid_constant__ RowsExperts args) {
    __shared__ int4 shared_ids[kMostChoices / 4];
    __shared__ int counts[kMostPlainExperts], first_job[kMostPlainExperts], sums[kListThreads / 32];
    auto* const ids = reinterpret_cast<int*>(shared_ids);
    const int choices = args.choices(), top_k = args.route.top_k;
    let_next_begin();
    for (int i = threadIdx.x; i < kMostPlainExperts; i += kListThreads) counts[i] = 0;
    for (int i = threadIdx.x; i < kMostChoices; i += kListThreads) ids[i] = -1;
    __syncthreads();
    wait_for_previous();
    if constexpr (kPerLane > 0) {
        for (int row = threadIdx.x / 32; row < args.rows; row += kListThreads / 32) {
            const ChosenLogit mine = choose_by_logits<kPerLane>(args.route, args.route.logits[row]);
            const float weight = weight_of(args.route, mine);
            const int place = place_of(args.route, mine);
            if (mine.expert == ChosenLogit::kNone) continue;
            args.route.ids[row][place] = ids[row * top_k + place] = mine.expert;
            args.route.weights[row][place] = weight;
        }
    } else {
        for (int i = threadIdx.x; i < choices; i += kListThreads) ids[i] = args.route.ids[i / top_k][i % top_k];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < choices; i += kListThreads) atomicAdd(&counts[ids[i]], 1);
    __syncthreads();
    const int expert = threadIdx.x, count = expert < kMostPlainExperts ? counts[expert] : 0;
    const int jobs = (count + kJobRows - 1) / kJobRows, first = sum_before(jobs, sums);
    __shared__ int all;
    if (threadIdx.x == kListThreads - 1) all = first + jobs;
    if (expert < kMostPlainExperts) first_job[expert] = first;
    for (int i = 0; i < jobs; ++i) {
        RowsJob& job = args.jobs[first + i];
        job.place = place_of(args.places, expert);
        job.count = min(kJobRows, count - i * kJobRows);
    }
    __syncthreads();
    for (int i = all + static_cast<int>(threadIdx.x); i < args.most_jobs; i += kListThreads) args.jobs[i].count = 0;
    for (int choice = threadIdx.x; choice < choices; choice += kListThreads) {
        const int of = ids[choice];
        int before = 0;
        for (int i = 0; i < choice; i += 4) {
            const int4 four = shared_ids[i / 4];
            before += (four.x == of) + (i + 1 < choice && four.y == of) + (i + 2 < choice && four.z == of) +
                      (i + 3 < choice && four.w == of);
        }
        args.jobs[first_job[of] + before / kJobRows].entries[before % kJobRows] = choice;
    }
}

// Rows of a job: row_of(t) begins at a multiple of 16 bytes. Loads of several are under way at once.
template <typename RowOf>
__device__ __forceinline__ void stage_job(const StagedRows<kJobRows>& staged, int count, int chunks,
                                          const RowOf& row_of) {
    constexpr int kAtOnce = 4;
    const int eights = chunks * 8, all = count * eights;
    for (int first = threadIdx.x; first < all; first += kAtOnce * kThreads) {
        float x[kAtOnce][8];
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
            const int i = first + j * kThreads;
            if (i < all) load_eight(row_of(i / eights) + i % eights * 8, x[j]);
        }
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
            const int i = first + j * kThreads;
            if (i < all) stage_eight(staged, i % eights, i / eights, x[j]);
        }
    }
}

struct SharedPlaces {
    Stage* stages;
    StagedRows<kJobRows> staged;
    float* partial;

    __device__ SharedPlaces(uint4* shared, int chunks, int rows)
        : stages(reinterpret_cast<Stage*>(shared)),
          staged(reinterpret_cast<uint4*>(stages + kWarps * kStages), chunks),
          partial(staged.end(chunks)) {
        staged.rows = rows;
    }
};

// A block: some numbers that an expert has inside, of the rows of a job. Tiles are of gates and ups in turn.
__global__ void __launch_bounds__(kThreads, 2) rows_in_kernel(const __grid_constant__ RowsExperts args) {
    extern __shared__ uint4 shared[];
    wait_for_previous();
    let_next_begin();  // the next kernel reads what this one waited for
    const RowsJob job = args.job(blockIdx.y);
    if (job.count == 0) return;
    const int chunks = args.up.chunks, first = blockIdx.x * (kInPairs * kOutputs);
    const SharedPlaces places(shared, chunks, job.count);
    const Sharing sharing = sharing_of(chunks, 2 * kInPairs);
    const PackedMatrix gate = matrix_of(args.gate, job), up = matrix_of(args.up, job);
    multiply_tiles<kJobRows, false>(
        sharing, chunks, places.stages, places.partial,
        [&](int tile) {
            return Tile<kJobRows>{tile % 2 == 0 ? gate : up, first + tile / 2 * kOutputs, places.staged};
        },
        [&] {
            stage_job(places.staged, job.count, chunks,
                      [&](int t) { return args.x[job.shared != 0 ? job.entry(t) : job.entry(t) / args.route.top_k]; });
        });
    for (int i = threadIdx.x; i < kInPairs * kOutputs * kJobRows; i += kThreads) {
        const int t = i / (kInPairs * kOutputs), output = i % (kInPairs * kOutputs);
        if (t >= job.count || first + output >= args.up.outputs) continue;
        const int of_gate = output / kOutputs * 2 * kOutputs + output % kOutputs;
        const float g = sum_of_spans<kJobRows>(sharing, chunks, places.partial, of_gate, t);
        const float u = sum_of_spans<kJobRows>(sharing, chunks, places.partial, of_gate + kOutputs, t);
        args.activated[static_cast<int64_t>(args.activated_row(job, t)) * args.up.outputs + first + output] =
            activated(args.activation, args.alpha, args.limit, args.up_offset, g, u);
    }
}

// A block: some outputs of an expert, of the rows of a job.
__global__ void __launch_bounds__(kThreads, 3) rows_down_kernel(const __grid_constant__ RowsExperts args) {
    extern __shared__ uint4 shared[];
    let_next_begin();
    const RowsJob job = args.job(blockIdx.y);
    if (job.count == 0) return wait_for_previous();
    const int chunks = args.down.chunks, first = blockIdx.x * (kDownTiles * kOutputs);
    const SharedPlaces places(shared, chunks, job.count);
    const Sharing sharing = sharing_of(chunks, kDownTiles);
    const PackedMatrix down = matrix_of(args.down, job);
    multiply_tiles<kJobRows, false>(
        sharing, chunks, places.stages, places.partial,
        [&](int tile) {
            return Tile<kJobRows>{down, first + tile * kOutputs, places.staged};
        },
        [&] {
            wait_for_previous();
            stage_job(places.staged, job.count, chunks, [&](int t) {
                return args.activated + static_cast<int64_t>(args.activated_row(job, t)) * args.up.outputs;
            });
        });
    const Rows<float>& parts = job.shared != 0 ? args.shared_parts : args.parts;
    for (int i = threadIdx.x; i < kDownTiles * kOutputs * kJobRows; i += kThreads) {
        const int t = i / (kDownTiles * kOutputs), output = i % (kDownTiles * kOutputs);
        if (t >= job.count || first + output >= args.down.outputs) continue;
        parts[job.entry(t)][first + output] = sum_of_spans<kJobRows>(sharing, chunks, places.partial, output, t);
    }
}

bool takes_route(const Route& route, const RoutedMlp& experts) {
    return route.groups == 1 && route.table.buffer == nullptr && route.logits.columns <= kMostPlainExperts &&
           arguments_of(route).by_chosen() && same_place(route.ids, experts.ids);
}

bool takes_shared(const GatedMlp& shared, const RoutedMlp& experts) {
    return shared.groups.size() == 1 && shared.groups.front().all_rows() && same_place(shared.x, experts.x) &&
           shared.x.rows == experts.x.rows && alike(shared.activation, experts.activation) &&
           takes_sizes(shared.groups.front(), experts.records.expert);
}

bool takes(const RoutedMlp& op) {
    const MlpGroup& expert = op.records.expert;
    return op.ids.rows <= kMostStepRows && op.ids.rows * op.ids.columns <= kMostChoices && op.x.rows == op.ids.rows &&
           op.records.slots.rows <= kMostPlainExperts && op.activation.gated() && expert.up.columns % 128 == 0 &&
           expert.down.columns % 128 == 0 && takes_sizes(expert, expert);
}

Packed packed(const Weight& weight, const RoutedMlp& op) {
    const Job job = job_of(weight, op.x, op.out);
    return {job.data, job.scales, job.zero_points};
}

// False where its kernels do not read the matrix as it lies.
bool describe(const Device& device, const RoutedMlp& op, const Weight& chosen, const Weight& shared,
              ExpertMatrix& matrix) {
    const DeviceWeight weight = device_weight(device, chosen);
    matrix = {.chosen = packed(chosen, op),
              .shared = packed(shared, op),
              .outputs = static_cast<int>(weight.rows),
              .chunks = static_cast<int>(weight.columns / kChunk),
              .group_shift = weight.group_size == kChunk ? 0 : 1,
              .data_row_bytes = static_cast<uint32_t>(weight.data_row_bytes),
              .group_row_bytes = static_cast<uint32_t>(weight.scale_row_bytes)};
    uintptr_t places = op.records.slot_bytes | places_of(op.records).more;
    for (const Packed& each : {matrix.chosen, matrix.shared}) {
        for (const uint8_t* part : {each.data, each.scales, each.zero_points}) {
            places |= reinterpret_cast<uintptr_t>(part);
        }
    }
    return places % 16 == 0 && weight.scale_type == ScaleType::kBf16 && weight.scale_row_bytes % 8 == 0 &&
           (weight.group_size == kChunk || weight.group_size == 2 * kChunk);
}

// `shared`: one of all rows; null: none. False, and nothing done, where the kernels do not take what they are given.
bool prepare(Device& device, const RoutedMlp& op, const GatedMlp* shared, RowsExperts& args) {
    if (device.exact() || !takes(op) || (shared != nullptr && !takes_shared(*shared, op))) return false;
    const MlpGroup& chosen = op.records.expert;
    const MlpGroup& beside = shared == nullptr ? chosen : shared->groups.front();
    args.rows = static_cast<int>(op.ids.rows);
    args.places = places_of(op.records);
    args.activation = op.activation.kind;
    args.alpha = op.activation.alpha;
    args.limit = op.activation.limit;
    args.up_offset = op.activation.up_offset;
    args.x = rows_of(op.x);
    args.parts = writable_rows_of(op.out);
    if (shared != nullptr) {
        args.shared_jobs = (args.rows + kJobRows - 1) / kJobRows;
        args.shared_parts = writable_rows_of(shared->out);
    }
    return describe(device, op, chosen.gate, beside.gate, args.gate) &&
           describe(device, op, chosen.up, beside.up, args.up) &&
           describe(device, op, chosen.down, beside.down, args.down) &&
           allow_shared_bytes(device, reinterpret_cast<const void*>(rows_in_kernel), args.in_bytes()) &&
           allow_shared_bytes(device, reinterpret_cast<const void*>(rows_down_kernel), args.down_bytes());
}

void run(Device& device, RowsExperts& args, bool chooses) {
    const int64_t choices = int64_t{args.rows} * args.route.top_k;
    args.most_jobs = static_cast<int>(std::min<int64_t>(choices, args.experts + choices / kJobRows));
    const uint64_t job_bytes = static_cast<uint64_t>(args.most_jobs) * sizeof(RowsJob);
    const uint64_t floats = static_cast<uint64_t>((choices + args.rows) * args.up.outputs);
    std::byte* const scratch = device.scratch(job_bytes + floats * sizeof(float));
    args.jobs = reinterpret_cast<RowsJob*>(scratch);
    args.activated = reinterpret_cast<float*>(scratch + job_bytes);
    auto* const list = !chooses ? list_kernel<0> : args.experts <= 256 ? list_kernel<8> : list_kernel<16>;
    launch_early(device, {1, kListThreads}, list, args);
    const auto jobs = static_cast<unsigned>(args.most_jobs + args.shared_jobs);
    const dim3 in_grid(blocks_for(args.up.outputs, kInPairs * kOutputs), jobs);
    launch_early(device, {in_grid, kThreads, args.in_bytes()}, rows_in_kernel, args);
    const dim3 down_grid(blocks_for(args.down.outputs, kDownTiles * kOutputs), jobs);
    launch_early(device, {down_grid, kThreads, args.down_bytes()}, rows_down_kernel, args);
}

}  // namespace

bool compute_joined_rows(Device& device, const ExpertsStep& joined) {
    RowsExperts args{.route = arguments_of(*joined.route), .experts = static_cast<int>(joined.route->logits.columns)};
    if (!takes_route(*joined.route, *joined.experts) || !prepare(device, *joined.experts, joined.shared, args)) {
        return false;
    }
    run(device, args, true);
    if (joined.added == nullptr) {
        compute(device, *joined.combine);
    } else {
        compute_together(device, *joined.combine, *joined.added);
    }
    return true;
}

bool multiply_experts_of_rows(Device& device, const RoutedMlp& op) {
    RowsExperts args{.route = {}, .experts = static_cast<int>(op.records.slots.rows)};
    args.route.ids = elements_of<int32_t>(op.ids);
    args.route.top_k = static_cast<int>(op.ids.columns);
    if (!prepare(device, op, nullptr, args)) return false;
    run(device, args, false);
    return true;
}

}  // namespace sluice::cuda
