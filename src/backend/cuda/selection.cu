// Sparse attention's cache of index keys, and the choice of tokens by scores over it, in F32.

#include <algorithm>

#include "backend/cuda/append.cuh"
#include "backend/cuda/cache_rows.cuh"

namespace sluice::cuda {

namespace {

// A cache whose tokens are runs.
struct RunCache {
    CachePages pages;
    CacheRows rows;
    int ratio;
};

RunCache run_cache(const PagedCache& cache, int64_t ratio, int64_t width) {
    const RowKvLayout layout(cache.format, cache.page_tokens / ratio, width);
    CachePages pages = pages_of(cache);
    pages.page_tokens = static_cast<int32_t>(layout.page_tokens);
    return {.pages = pages,
            .rows = {.width = static_cast<int32_t>(width),
                     .first = 0,
                     .head_bytes = 0,
                     .token_bytes = static_cast<int64_t>(layout.row_bytes)},
            .ratio = static_cast<int>(ratio)};
}

constexpr int kAppendWarps = 4;

// A warp per row of the batch.
__global__ void __launch_bounds__(32 * kAppendWarps)
    append_rows_kernel(Rows<const float> rows, int count, RunCache cache, SequenceTable sequences) {
    const int row = static_cast<int>(blockIdx.x * kAppendWarps + threadIdx.x / 32);
    if (row >= count) return;
    const SequencePart part = sequences.of_row(row);
    if (part.sequence < 0) return;
    const int position = part.position + row - part.first_row;
    if ((position + 1) % cache.ratio != 0) return;
    store_row(cache.pages, cache.rows, part.sequence, 0, position / cache.ratio, rows[row]);
}

// Scores of `rows` rows from `first_row` on, `runs` numbers each.
struct Scores {
    float* numbers;
    int64_t runs;
    int first_row, rows;
};

constexpr int kScoreThreads = 256, kScoreWarps = kScoreThreads / 32, kTileRuns = 64, kTileHeads = 64,
              kPartColumns = 128, kStepColumns = 32;
constexpr int kMostTileRows = 8;  // of the batch, that a block scores
constexpr int kKeyPitch = kPartColumns + 4, kQueryPitch = kStepColumns + 4;

struct ScoreArgs {
    Rows<const float> query, weights;  // of heads; without weights all are 1
    bool fours;                        // whether queries may be read 16 bytes at a time
    int heads;
    RunCache cache;
    SequenceTable sequences;
    Scores scores;
    int tile_rows;
};

struct ScoreShared {
    float keys[kTileRuns][kKeyPitch], queries[kTileHeads][kQueryPitch];
    float sums[kScoreWarps][kTileRuns];
};

// A tile of runs against rows of the batch, one after the other, 64 heads at a time. A thread has four heads and four
// runs, 16 apart.
class Scorer {
  public:
    __device__ Scorer(const ScoreArgs& args, ScoreShared& shared)
        : args_(args), shared_(shared), first_run_(static_cast<int>(blockIdx.x) * kTileRuns) {}

    __device__ void run() {
        const int begin = static_cast<int>(blockIdx.y) * args_.tile_rows;
        for (int i = begin; i < min(begin + args_.tile_rows, args_.scores.rows); ++i) {
            const int row = args_.scores.first_row + i;
            const SequencePart part = args_.sequences.of_row(row);
            if (part.sequence < 0) continue;
            const int complete = (part.position + row - part.first_row + 1) / args_.cache.ratio;
            if (first_run_ >= complete) continue;
            all_runs_ = (part.position + part.count) / args_.cache.ratio;
            score_row(part.sequence, row);
            if (threadIdx.x < kTileRuns && first_run_ + static_cast<int>(threadIdx.x) < complete) {
                args_.scores.numbers[i * args_.scores.runs + first_run_ + threadIdx.x] = sum_of_run();
            }
        }
    }

  private:
    __device__ void score_row(int sequence, int row) {
        float scores[4] = {};
        for (int head = 0; head < args_.heads; head += kTileHeads) {
            float products[4][4] = {};
            for (int first = 0; first < width(); first += kPartColumns) {
                load_keys(sequence, first);
                for (int step = first; step < min(first + kPartColumns, width()); step += kStepColumns) {
                    load_queries(row, head, step);
                    multiply(step - first, products);
                }
            }
            weigh(row, head, products, scores);
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float sum = scores[j] + __shfl_xor_sync(kAllLanes, scores[j], 16);
            if (threadIdx.x % 32 < 16) shared_.sums[threadIdx.x / 32][lane_ + 16 * j] = sum;
        }
        __syncthreads();
    }
    __device__ float sum_of_run() const {
        float sum = 0;
#pragma unroll
        for (const auto& of_warp : shared_.sums) sum += of_warp[threadIdx.x];
        return sum;
    }

    __device__ int width() const {
        return args_.cache.rows.width;
    }

    // Columns [first, first + kPartColumns) of the tile's keys, unless they are there; behind the end zeros.
    __device__ void load_keys(int sequence, int first) {
        if (sequence == sequence_ && first == first_column_) return;
        sequence_ = sequence, first_column_ = first;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < kTileRuns / kScoreWarps; ++i) {
            const int r = threadIdx.x / 32 + i * kScoreWarps, run = first_run_ + r, c = 4 * (threadIdx.x % 32);
            const uint8_t* const key = run < all_runs_ ? key_at(sequence, run) : nullptr;
            *reinterpret_cast<float4*>(&shared_.keys[r][c]) = four_of(key, first + c);
        }
    }
    __device__ float4 four_of(const uint8_t* key, int column) const {
        const KvFormat format = args_.cache.pages.format;
        if (key == nullptr || column >= width()) return {};
        if (lies_in_fours(format, key, width())) return four_at(format, key, column);
        float four[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) four[j] = column + j < width() ? number_at(format, key, column + j) : 0.0f;
        return {four[0], four[1], four[2], four[3]};
    }
    __device__ const uint8_t* key_at(int sequence, int run) const {
        const CachePages& pages = args_.cache.pages;
        const int64_t page = pages.pages[sequence][run / pages.page_tokens];
        return pages.pool + page * static_cast<int64_t>(pages.page_bytes) +
               run % pages.page_tokens * args_.cache.rows.token_bytes;
    }
    __device__ void load_queries(int row, int first_head, int first) {
        constexpr int kFours = kStepColumns / 4;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < kTileHeads * kFours / kScoreThreads; ++i) {
            const int index = threadIdx.x + i * kScoreThreads, head = index / kFours, c = 4 * (index % kFours);
            const bool there = first_head + head < args_.heads && first + c < width();
            const float* const from = args_.query[row] + static_cast<int64_t>(first_head + head) * width() + first + c;
            float4 four{};
            if (there && args_.fours) four = __ldg(reinterpret_cast<const float4*>(from));
            if (there && !args_.fours) {
                four.x = from[0];
                if (first + c + 1 < width()) four.y = from[1];
                if (first + c + 2 < width()) four.z = from[2];
                if (first + c + 3 < width()) four.w = from[3];
            }
            *reinterpret_cast<float4*>(&shared_.queries[head][c]) = four;
        }
        __syncthreads();
    }
    __device__ void multiply(int column, float (&products)[4][4]) const {
#pragma unroll
        for (int k = 0; k < kStepColumns; k += 4) {
            float4 keys[4];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                keys[j] = *reinterpret_cast<const float4*>(&shared_.keys[lane_ + 16 * j][column + k]);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float4 query = *reinterpret_cast<const float4*>(&shared_.queries[group_ + 16 * i][k]);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    float& sum = products[i][j];
                    sum = fmaf(query.x, keys[j].x, sum);
                    sum = fmaf(query.y, keys[j].y, sum);
                    sum = fmaf(query.z, keys[j].z, sum);
                    sum = fmaf(query.w, keys[j].w, sum);
                }
            }
        }
    }
    __device__ void weigh(int row, int first_head, const float (&products)[4][4], float (&scores)[4]) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int head = first_head + group_ + 16 * i;
            if (head >= args_.heads) break;
            const float weight = args_.weights.first == nullptr ? 1.0f : args_.weights[row][head];
#pragma unroll
            for (int j = 0; j < 4; ++j) scores[j] = fmaf(weight, fmaxf(products[i][j], 0.0f), scores[j]);
        }
    }

    const ScoreArgs& args_;
    ScoreShared& shared_;
    const int first_run_, group_ = threadIdx.x / 16, lane_ = threadIdx.x % 16;
    int all_runs_ = 0, sequence_ = -1, first_column_ = -1;  // of the keys that are there
};

__global__ void __launch_bounds__(kScoreThreads) score_kernel(const __grid_constant__ ScoreArgs args) {
    __shared__ __align__(16) ScoreShared shared;
    Scorer(args, shared).run();
}

constexpr int kChooseThreads = 1024, kChooseWarps = kChooseThreads / 32, kBins = 2 * kChooseThreads;

struct ChooseArgs {
    Scores scores;
    SequenceTable sequences;
    int ratio, room;  // runs that are chosen at most
    bool as_tokens;
    Rows<int32_t> out;
    int columns;
};

// Numbers in the order of scores; what is none is the least.
__device__ __forceinline__ uint32_t order_of(float score) {
    const uint32_t bits = __float_as_uint(score == score ? score + 0.0f : -INFINITY);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

struct ChooseShared {
    int bins[kBins];
    int sums[kChooseWarps];
    int bin, above;
};

// The runs whose score is above `least`, and the first `equals` of those where it is that.
struct Threshold {
    uint32_t least = 0;
    int equals = 0;
};

// The sum of all earlier threads, and that of all.
__device__ __forceinline__ int sum_before(int number, int (&of_warps)[kChooseWarps], int& all) {
    const int lane = threadIdx.x % 32;
    int sum = number;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(kAllLanes, sum, step);
        if (lane >= step) sum += below;
    }
    if (lane == 31) of_warps[threadIdx.x / 32] = sum;
    __syncthreads();
    const int warp = threadIdx.x / 32;
    all = of_warps[lane];
    int before = lane < warp ? all : 0;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        before += __shfl_xor_sync(kAllLanes, before, step);
        all += __shfl_xor_sync(kAllLanes, all, step);
    }
    return before + sum - number;
}

// By digits of 11, 11 and 10 bits from above: in which bin the last that is chosen lies.
__device__ Threshold threshold_of(const float* scores, int count, int room, ChooseShared& shared) {
    constexpr int kAsked = 8;  // for at once
    uint32_t known = 0, mask = 0;
    for (int shift = 21;; shift = shift == 21 ? 10 : 0) {
        const uint32_t digit = shift == 0 ? 0x3ff : 0x7ff;
        __syncthreads();
        for (int i = threadIdx.x; i < kBins; i += kChooseThreads) shared.bins[i] = 0;
        __syncthreads();
        for (int begin = threadIdx.x; begin < count; begin += kAsked * kChooseThreads) {
            float asked[kAsked];
#pragma unroll
            for (int j = 0; j < kAsked; ++j) {
                const int i = begin + j * kChooseThreads;
                asked[j] = i < count ? scores[i] : 0.0f;
            }
#pragma unroll
            for (int j = 0; j < kAsked; ++j) {
                const uint32_t order = order_of(asked[j]);
                const bool counts = begin + j * kChooseThreads < count && (order & mask) == known;
                if (counts) atomicAdd(&shared.bins[order >> shift & digit], 1);
            }
        }
        __syncthreads();
        const int bin = kBins - 1 - 2 * static_cast<int>(threadIdx.x);
        const int first = shared.bins[bin], both = first + shared.bins[bin - 1];
        int all = 0;
        const int above = sum_before(both, shared.sums, all);
        if (above < room && room <= above + both) {
            const bool second = room > above + first;
            shared.bin = second ? bin - 1 : bin;
            shared.above = second ? above + first : above;
        }
        __syncthreads();
        known |= static_cast<uint32_t>(shared.bin) << shift;
        mask |= digit << shift;
        room -= shared.above;
        if (shift == 0) return {known, room};
    }
}

// A block per row.
class Chooser {
  public:
    __device__ Chooser(const ChooseArgs& args, ChooseShared& shared, int row, int position)
        : args_(args), shared_(shared), out_(args.out[row]), position_(position) {}

    __device__ void run() {
        const int complete = (position_ + 1) / args_.ratio;
        const int chosen = min(complete, args_.room);
        if (complete <= args_.room) {
            for (int run = threadIdx.x; run < complete; run += kChooseThreads) put(run, run);
        } else {
            choose(args_.scores.numbers + static_cast<int64_t>(blockIdx.x) * args_.scores.runs, complete);
        }
        // Tokens behind the last complete run, and nothing.
        const int first = args_.as_tokens ? chosen * args_.ratio : chosen;
        const int rest = args_.as_tokens ? position_ + 1 - complete * args_.ratio : 0;
        for (int i = threadIdx.x; first + i < args_.columns; i += kChooseThreads) {
            out_[first + i] = i < rest ? complete * args_.ratio + i : kNoToken;
        }
    }

  private:
    __device__ void put(int place, int run) const {
        if (!args_.as_tokens) {
            out_[place] = run;
            return;
        }
        for (int i = 0; i < args_.ratio; ++i) out_[place * args_.ratio + i] = run * args_.ratio + i;
    }
    __device__ void choose(const float* scores, int count) {
        const Threshold threshold = threshold_of(scores, count, args_.room, shared_);
        constexpr int kMine = 4;
        int above = 0, equal = 0;  // among all earlier runs
        for (int first = 0; first < count; first += kMine * kChooseThreads) {
            const int mine = first + kMine * static_cast<int>(threadIdx.x);
            uint32_t orders[kMine];
            int counts = 0;  // of those above, and in the upper half of those that are equal
#pragma unroll
            for (int j = 0; j < kMine; ++j) {
                orders[j] = mine + j < count ? order_of(scores[mine + j]) : 0;
                counts += orders[j] > threshold.least ? 1 : orders[j] == threshold.least ? 1 << 16 : 0;
            }
            int all = 0;
            __syncthreads();
            const int before = sum_before(counts, shared_.sums, all);
            int above_here = above + (before & 0xffff), equal_here = equal + (before >> 16);
#pragma unroll
            for (int j = 0; j < kMine; ++j) {
                if (orders[j] > threshold.least) {
                    put(above_here++ + min(equal_here, threshold.equals), mine + j);
                } else if (orders[j] == threshold.least) {
                    if (equal_here < threshold.equals) put(above_here + equal_here, mine + j);
                    ++equal_here;
                }
            }
            above += all & 0xffff, equal += all >> 16;
        }
    }

    const ChooseArgs& args_;
    ChooseShared& shared_;
    int32_t* const out_;
    const int position_;
};

__global__ void __launch_bounds__(kChooseThreads) choose_kernel(const __grid_constant__ ChooseArgs args) {
    __shared__ ChooseShared shared;
    const int row = args.scores.first_row + static_cast<int>(blockIdx.x);
    const SequencePart part = args.sequences.of_row(row);
    if (part.sequence < 0) return;
    Chooser(args, shared, row, part.position + row - part.first_row).run();
}

bool lies_in_fours(const Rows<const float>& rows) {
    return reinterpret_cast<uint64_t>(rows.first) % 16 == 0 && rows.stride % 4 == 0;
}

}  // namespace

void compute(Device& device, const AppendRows& op) {
    if (op.rows.rows == 0) return;
    append_rows_kernel<<<blocks_for(op.rows.rows, kAppendWarps), 32 * kAppendWarps, 0, device.stream()>>>(
        rows_of(op.rows), static_cast<int>(op.rows.rows), run_cache(op.cache, op.ratio, op.rows.columns),
        table_of(op.sequences));
    check_launch(op.kName);
}

void compute(Device& device, const SelectTokens& op) {
    constexpr int64_t kScoreBytes = int64_t{64} << 20;
    const int64_t rows = op.query.rows, runs = std::max<int64_t>(op.sequences.most_tokens / op.ratio, 1);
    if (rows == 0) return;
    const bool all = runs <= op.most_runs();  // are chosen
    const int64_t row_bytes = runs * static_cast<int64_t>(sizeof(float));
    const int64_t together = all ? rows : std::clamp<int64_t>(kScoreBytes / row_bytes, 1, rows);
    Scores scores{.numbers = nullptr, .runs = runs, .first_row = 0, .rows = 0};
    if (!all) scores.numbers = reinterpret_cast<float*>(device.scratch(static_cast<uint64_t>(together * row_bytes)));
    ScoreArgs score{.query = rows_of(op.query),
                    .weights = op.weights.buffer == nullptr ? Rows<const float>{} : rows_of(op.weights),
                    .fours = op.width() % 4 == 0 && lies_in_fours(rows_of(op.query)),
                    .heads = static_cast<int>(op.head_count()),
                    .cache = run_cache(op.cache, op.ratio, op.width()),
                    .sequences = table_of(op.sequences),
                    .scores = scores,
                    .tile_rows = rows > kMostTileRows ? kMostTileRows : 1};
    ChooseArgs choose{.scores = scores,
                      .sequences = score.sequences,
                      .ratio = static_cast<int>(op.ratio),
                      .room = static_cast<int>(op.most_runs()),
                      .as_tokens = op.as_tokens,
                      .out = elements_of<int32_t>(op.out),
                      .columns = static_cast<int>(op.out.columns)};
    for (int64_t first = 0; first < rows; first += together) {
        scores.first_row = static_cast<int>(first);
        scores.rows = static_cast<int>(std::min(together, rows - first));
        score.scores = choose.scores = scores;
        if (!all) {
            const dim3 grid(blocks_for(runs, kTileRuns), blocks_for(scores.rows, score.tile_rows));
            score_kernel<<<grid, kScoreThreads, 0, device.stream()>>>(score);
        }
        choose_kernel<<<static_cast<unsigned>(scores.rows), kChooseThreads, 0, device.stream()>>>(choose);
        check_launch(op.kName);
    }
}

}  // namespace sluice::cuda
