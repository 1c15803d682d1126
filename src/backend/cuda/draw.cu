// DrawToken. Weights are whole numbers, so that their sums do not depend on the order. Four kernels: the largest number
// of every piece of a row; what weighs how much, in bins from the largest number down; a list of the bins from which a
// token may be drawn; then a block per row that draws.

#include "backend/cuda/largest.cuh"

namespace sluice::cuda {

namespace {

using Mass = unsigned long long;

constexpr int kBins = 1024, kDrawThreads = kBins;
constexpr float kBinsOfNeper = 32;  // the last bin weighs nothing
constexpr double kWholeWeight = 0x1p40;

struct Bin {
    Mass mass, count;
};

// What the kernels hand on about a row.
struct RowState {
    Key largest[kPieces];
    Mass pieces[kPieces];  // what weighs at least min_p
    Bin bins[kBins];
    int listed;
};

struct DrawArgs {
    Rows<const float> x;
    Rows<const int32_t> settings;
    Rows<int32_t> out;
    int columns;
    RowState* rows;
    Key* lists;  // [rows, columns]
};

// As settings come: rows of words that nothing aligns.
__device__ __forceinline__ DrawSettings settings_of(const DrawArgs& args, int row) {
    DrawSettings settings;
    auto* const words = reinterpret_cast<int32_t*>(&settings);
    for (int i = 0; i < kDrawColumns; ++i) words[i] = args.settings[row][i];
    return settings;
}

struct Scale {
    float largest, temperature;
    double least;  // that min_p keeps

    __device__ Scale(Key key, const DrawSettings& settings)
        : largest(value_of(key)),
          temperature(static_cast<float>(settings.temperature)),
          least(settings.min_p * kWholeWeight) {}
    __device__ float nepers_below(float x) const { return (largest - x) / temperature; }
    __device__ Mass weight(float x) const {
        return static_cast<Mass>(llrint(exp(static_cast<double>((x - largest) / temperature)) * kWholeWeight));
    }
    __device__ bool kept(Mass weight) const { return static_cast<double>(weight) >= least; }
    __device__ int bin(float x) const {
        return static_cast<int>(fminf(nepers_below(x) * kBinsOfNeper, static_cast<float>(kBins - 1)));
    }
};

__global__ void __launch_bounds__(kPieceThreads) largest_pieces_kernel(const DrawArgs args) {
    let_next_begin();
    wait_for_previous();
    RowState& row = args.rows[blockIdx.y];
    for (int i = blockIdx.x * kPieceThreads + threadIdx.x; i < kBins; i += kPieces * kPieceThreads) row.bins[i] = {};
    if (blockIdx.x == 0 && threadIdx.x == 0) row.listed = 0;
    const Key best = largest_of_piece(args.x[blockIdx.y], args.columns);
    if (threadIdx.x == 0) row.largest[blockIdx.x] = best;
}

// Inclusive, over the block; `sums` has a place for every warp.
__device__ __forceinline__ Mass running_sum(Mass value, Mass* sums) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int step = 1; step < 32; step *= 2) {
        const Mass below = __shfl_up_sync(kAllLanes, value, step);
        if (lane >= step) value += below;
    }
    __syncthreads();
    if (lane == 31) sums[warp] = value;
    __syncthreads();
    for (int w = 0; w < warp; ++w) value += sums[w];
    return value;
}
__device__ __forceinline__ Mass whole_sum(Mass value, Mass* sums) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    Mass sum = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += sums[w];
    return sum;
}

__global__ void __launch_bounds__(kPieceThreads) weigh_kernel(const DrawArgs args) {
    __shared__ Bin bins[kBins];
    __shared__ Mass sums[kPieceThreads / 32];
    let_next_begin();
    wait_for_previous();
    RowState& row = args.rows[blockIdx.y];
    const Key largest = largest_of_row(row.largest);
    if (largest == kNotFinite) return;
    const Scale scale(largest, settings_of(args, blockIdx.y));
    for (int i = threadIdx.x; i < kBins; i += kPieceThreads) bins[i] = {};
    __syncthreads();
    const Piece piece = piece_of(args.columns, blockIdx.x);
    const float* const x = args.x[blockIdx.y];
    Mass kept = 0;
    for (int c = piece.first + static_cast<int>(threadIdx.x); c < piece.end; c += kPieceThreads) {
        const Mass weight = scale.weight(x[c]);
        Bin& bin = bins[scale.bin(x[c])];
        atomicAdd(&bin.mass, weight);
        atomicAdd(&bin.count, Mass{1});
        if (scale.kept(weight)) kept += weight;
    }
    kept = whole_sum(kept, sums);
    if (threadIdx.x == 0) row.pieces[blockIdx.x] = kept;
    for (int i = threadIdx.x; i < kBins; i += kPieceThreads) {
        if (bins[i].count == 0) continue;
        atomicAdd(&row.bins[i].mass, bins[i].mass);
        atomicAdd(&row.bins[i].count, bins[i].count);
    }
}

// What a block has while it draws.
struct DrawMemory {
    Mass sums[kDrawThreads / 32];
    Mass amounts[256];
    Key keys[kDrawThreads];
    Mass weights[kDrawThreads];
    int gathered, piece;
    Key found;
    Mass before;
};

__device__ __forceinline__ Mass target_of(const DrawSettings& settings, Mass total) {
    return min(static_cast<Mass>(settings.uniform * static_cast<double>(total)), total - 1);
}
__device__ __forceinline__ Mass nucleus_of(const DrawSettings& settings, Mass total) {
    return max(min(static_cast<Mass>(ceil(settings.top_p * static_cast<double>(total))), total), Mass{1});
}

// The sum runs by columns: to the piece first, then through it.
__device__ void draw_by_columns(const DrawArgs& args, const RowState& row, const Scale& scale,
                                const DrawSettings& settings, DrawMemory& shared) {
    const int thread = threadIdx.x;
    const Mass mine = thread < kPieces ? row.pieces[thread] : 0, sum = running_sum(mine, shared.sums);
    const Mass target = target_of(settings, whole_sum(mine, shared.sums));
    if (sum - mine <= target && target < sum) shared.piece = thread, shared.before = sum - mine;
    __syncthreads();
    const Piece piece = piece_of(args.columns, shared.piece);
    const float* const x = args.x[blockIdx.x];
    Mass before = shared.before;
    for (int first = piece.first; first < piece.end; first += kDrawThreads) {
        const int column = first + thread;
        Mass weight = column < piece.end ? scale.weight(x[column]) : 0;
        if (!scale.kept(weight)) weight = 0;
        const Mass running = before + running_sum(weight, shared.sums);
        if (running - weight <= target && target < running) args.out[blockIdx.x][0] = column;
        before += whole_sum(weight, shared.sums);
    }
}

__device__ __forceinline__ bool takes_columns_in_order(const DrawSettings& settings) {
    return settings.top_k == 0 && settings.top_p >= 1;
}

// The bin in which the running sum of `amount` reaches `target`, and the sum before it.
struct BinPlace {
    int bin;
    Mass before;
};
template <typename Amount>
__device__ BinPlace find_bin(const Bin* bins, Mass target, const Amount& amount, Mass* sums) {
    __shared__ BinPlace place;
    const int each = kBins / blockDim.x, first = threadIdx.x * each;
    Mass mine = 0;
    for (int i = first; i < first + each; ++i) mine += amount(bins[i]);
    Mass sum = running_sum(mine, sums) - mine;
    for (int i = first; i < first + each; ++i) {
        const Mass before = sum;
        sum += amount(bins[i]);
        if (before < target && target <= sum) place = {i, before};
    }
    __syncthreads();
    const BinPlace found = place;
    __syncthreads();
    return found;
}

__device__ __forceinline__ Mass whole_of(const Bin* bins, Mass* sums) {
    Mass mass = 0;
    for (int i = threadIdx.x; i < kBins; i += blockDim.x) mass += bins[i].mass;
    return whole_sum(mass, sums);
}

struct MassOfBin {
    __device__ Mass operator()(const Bin& bin) const { return bin.mass; }
};
struct CountOfBin {
    __device__ Mass operator()(const Bin& bin) const { return bin.count; }
};

__device__ __forceinline__ Mass candidates_of(const DrawSettings& settings, int columns) {
    return min(static_cast<Mass>(settings.top_k), static_cast<Mass>(columns));
}

// Of a piece, the columns of the bins up to the one in which the first top_k end, or the nucleus.
__global__ void __launch_bounds__(kPieceThreads) list_kernel(const DrawArgs args) {
    __shared__ Mass sums[kPieceThreads / 32];
    let_next_begin();
    wait_for_previous();
    RowState& row = args.rows[blockIdx.y];
    const Key largest = largest_of_row(row.largest);
    const DrawSettings settings = settings_of(args, blockIdx.y);
    if (largest == kNotFinite || takes_columns_in_order(settings)) return;
    const Scale scale(largest, settings);
    const int last = settings.top_k > 0
                         ? find_bin(row.bins, candidates_of(settings, args.columns), CountOfBin{}, sums).bin
                         : find_bin(row.bins, nucleus_of(settings, whole_of(row.bins, sums)), MassOfBin{}, sums).bin;
    Key* const list = args.lists + static_cast<int64_t>(blockIdx.y) * args.columns;
    const Piece piece = piece_of(args.columns, blockIdx.x);
    const float* const x = args.x[blockIdx.y];
    for (int c = piece.first + static_cast<int>(threadIdx.x); c < piece.end; c += kPieceThreads) {
        const float value = x[c];
        if (scale.bin(value) <= last) list[atomicAdd(&row.listed, 1)] = key_of(value, static_cast<unsigned>(c));
    }
}

// A thread per candidate, which looks at all others.
__device__ void draw_of_few(const DrawArgs& args, const Scale& scale, const DrawSettings& settings, DrawMemory& shared,
                            const Key* list, int count, Mass whole) {
    const int thread = threadIdx.x;
    const bool there = thread < count;
    const Key key = there ? list[thread] : 0;
    const Mass weight = there ? scale.weight(value_of(key)) : 0;
    shared.keys[thread] = key;
    shared.weights[thread] = weight;
    __syncthreads();
    Mass before = 0;
    int64_t rank = 0;
    for (int i = 0; i < count; ++i) {
        if (shared.keys[i] <= key) continue;
        before += shared.weights[i];
        ++rank;
    }
    const bool chosen = there && (settings.top_k == 0 || rank < settings.top_k);
    const Mass total = settings.top_k == 0 ? whole : whole_sum(chosen ? weight : 0, shared.sums);
    const bool kept = chosen && (rank == 0 || (before < nucleus_of(settings, total) && scale.kept(weight)));
    const Mass target = target_of(settings, whole_sum(kept ? weight : 0, shared.sums));
    if (kept && before <= target && target < before + weight) args.out[blockIdx.x][0] = column_of(key);
}

// Candidates of which a thread cannot look at all others.
struct Candidates {
    const Bin* bins;
    const Key* list;
    int count;
    const Scale& scale;

    __device__ Mass weight(Key key) const { return scale.weight(value_of(key)); }
    __device__ int bin(Key key) const { return scale.bin(value_of(key)); }
    template <typename Counts>
    __device__ Mass mass_of(DrawMemory& shared, const Counts& counts) const {
        Mass sum = 0;
        for (int i = threadIdx.x; i < count; i += kDrawThreads) sum += counts(list[i]) ? weight(list[i]) : 0;
        return whole_sum(sum, shared.sums);
    }
    __device__ Mass mass_up_to(DrawMemory& shared, Key least) const {
        return mass_of(shared, [&](Key key) { return key >= least; });
    }
};

// The candidate of a bin at which the running sum of `amount`, the largest key first, reaches `target`: the bin's
// candidates side by side, where there is a thread for each.
template <typename Amount>
__device__ Key find_side_by_side(const Candidates& all, int bin, Mass target, DrawMemory& shared,
                                 const Amount& amount) {
    if (threadIdx.x == 0) shared.gathered = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < all.count; i += kDrawThreads) {
        const Key key = all.list[i];
        if (all.bin(key) == bin) shared.keys[atomicAdd(&shared.gathered, 1)] = key;
    }
    __syncthreads();
    const int count = shared.gathered;
    const Key key = static_cast<int>(threadIdx.x) < count ? shared.keys[threadIdx.x] : 0;
    const Mass mine = key == 0 ? 0 : amount(key);
    shared.weights[threadIdx.x] = mine;
    __syncthreads();
    Mass before = 0;
    for (int i = 0; i < count; ++i) before += shared.keys[i] > key ? shared.weights[i] : 0;
    if (before < target && target <= before + mine) shared.found = key;
    __syncthreads();
    return shared.found;
}

// The same by eight bits of the keys after the other.
template <typename Amount>
__device__ Key find_by_digits(const Candidates& all, int bin, Mass target, DrawMemory& shared, const Amount& amount) {
    Key prefix = 0;
    Mass before = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        __syncthreads();
        if (threadIdx.x < 256) shared.amounts[threadIdx.x] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < all.count; i += kDrawThreads) {
            const Key key = all.list[i];
            if ((shift < 56 && (key ^ prefix) >> (shift + 8) != 0) || all.bin(key) != bin) continue;
            atomicAdd(&shared.amounts[key >> shift & 255], amount(key));
        }
        __syncthreads();
        const Mass mine = threadIdx.x < 256 ? shared.amounts[255 - threadIdx.x] : 0;
        const Mass sum = before + running_sum(mine, shared.sums);
        if (sum - mine < target && target <= sum) {
            shared.found = prefix | static_cast<Key>(255 - threadIdx.x) << shift;
            shared.before = sum - mine;
        }
        __syncthreads();
        prefix = shared.found;
        before = shared.before;
    }
    return prefix;
}

template <typename OfBin, typename OfKey>
__device__ Key find_candidate(const Candidates& all, Mass target, DrawMemory& shared, const OfBin& of_bin,
                              const OfKey& of_key) {
    const BinPlace place = find_bin(all.bins, target, of_bin, shared.sums);
    const bool few = all.bins[place.bin].count <= kDrawThreads;
    return few ? find_side_by_side(all, place.bin, target - place.before, shared, of_key)
               : find_by_digits(all, place.bin, target - place.before, shared, of_key);
}

__device__ void draw_of_many(const DrawArgs& args, const Candidates& all, const DrawSettings& settings,
                             DrawMemory& shared, Mass whole) {
    const auto mass_of_key = [&](Key key) { return all.weight(key); };
    Mass total = whole;
    if (settings.top_k > 0) {
        const auto one = [](Key) { return Mass{1}; };
        const Mass wanted = candidates_of(settings, args.columns);
        total = all.mass_up_to(shared, find_candidate(all, wanted, shared, CountOfBin{}, one));
    }
    Mass kept = total;
    if (settings.top_p < 1) {
        const Key last = find_candidate(all, nucleus_of(settings, total), shared, MassOfBin{}, mass_of_key);
        kept = min(kept, all.mass_up_to(shared, last));
    }
    if (settings.min_p > 0)
        kept = min(kept, all.mass_of(shared, [&](Key key) { return all.scale.kept(all.weight(key)); }));
    kept = max(kept, static_cast<Mass>(kWholeWeight));
    const Key drawn = find_candidate(all, target_of(settings, kept) + 1, shared, MassOfBin{}, mass_of_key);
    if (threadIdx.x == 0) args.out[blockIdx.x][0] = column_of(drawn);
}

__global__ void __launch_bounds__(kDrawThreads) draw_kernel(const DrawArgs args) {
    __shared__ DrawMemory shared;
    let_next_begin();
    wait_for_previous();
    const RowState& row = args.rows[blockIdx.x];
    const Key largest = largest_of_row(row.largest);
    if (largest == kNotFinite) {
        if (threadIdx.x == 0) args.out[blockIdx.x][0] = -1;
        return;
    }
    const DrawSettings settings = settings_of(args, blockIdx.x);
    const Scale scale(largest, settings);
    if (takes_columns_in_order(settings)) return draw_by_columns(args, row, scale, settings, shared);
    const Candidates all{row.bins, args.lists + static_cast<int64_t>(blockIdx.x) * args.columns, row.listed, scale};
    const Mass whole = whole_of(row.bins, shared.sums);
    if (all.count <= kDrawThreads) return draw_of_few(args, scale, settings, shared, all.list, all.count, whole);
    draw_of_many(args, all, settings, shared, whole);
}

}  // namespace

void compute(Device& device, const DrawToken& op) {
    if (op.x.rows == 0) return;
    const auto rows = static_cast<unsigned>(op.x.rows);
    const uint64_t states = rows * sizeof(RowState);
    std::byte* const scratch = device.scratch(states + static_cast<uint64_t>(op.x.rows * op.x.columns) * sizeof(Key));
    const DrawArgs args{.x = rows_of(op.x),
                        .settings = ints_of(op.settings),
                        .out = elements_of<int32_t>(op.out),
                        .columns = static_cast<int>(op.x.columns),
                        .rows = reinterpret_cast<RowState*>(scratch),
                        .lists = reinterpret_cast<Key*>(scratch + states)};
    launch_early(device, {dim3(kPieces, rows), kPieceThreads}, largest_pieces_kernel, args);
    launch_early(device, {dim3(kPieces, rows), kPieceThreads}, weigh_kernel, args);
    launch_early(device, {dim3(kPieces, rows), kPieceThreads}, list_kernel, args);
    launch_early(device, {rows, kDrawThreads}, draw_kernel, args);
}

}  // namespace sluice::cuda
