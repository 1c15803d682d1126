#pragma once

// Causal attention over pages, of either kind: the query vectors of all heads that share a key head meet the same keys
// and values.

#include <cstdint>

#include "backend/cuda/recurrent.cuh"
#include "backend/kv_layout.h"

namespace sluice::cuda {

struct CachePages {
    const uint8_t* pool;
    uint64_t pool_bytes, page_bytes;
    Rows<const int32_t> pages;
    int32_t page_tokens;
    KvFormat format;
};

// A part of what is stored of a token: rows of `width` numbers, row `token` of key head h at
// first + h * head_bytes + token * token_bytes in a page.
struct CacheRows {
    int32_t width;
    int64_t first, head_bytes, token_bytes;
};

// Keys that are values, too, of the last tokens: those of the batch, and before them states, where that of the token at
// position p is in row p % window. Rows of the cache are seen after them, one for each run of `ratio` tokens that is
// complete; 0: none.
struct RecentKeys {
    Rows<const float> keys;
    StateTable states;
    int window, ratio;  // window 0: there are none
};

struct AttendArgs {
    // A query is key_a.width numbers and then key_b.width of another tensor (0: no such part).
    Rows<const float> query_a, query_b;
    int64_t query_a_head, query_b_head;  // from one head to the next
    CacheRows key_a, key_b, value;
    bool value_is_key_a;
    CachePages cache;
    SequenceTable sequences;
    int rows, heads, key_heads;
    float scale;
    int window, chunk;   // tokens that one sees, and of whose run; 0: all
    const float* sinks;  // a logit per head that has no value; null: none
    // What each row sees of the cache, ascending, then kNoToken; null: all.
    Rows<const int32_t> listed;
    int most_listed;
    RecentKeys recent;
    Rows<float> out;  // of a head value.width numbers
    // The split form's: per sequence, row of it, head and split the largest score, the sum of weights, value.width
    // sums.
    float* partial;
    int splits, split_rows;

    // Keys in one part and values, both of one width.
    bool one_width() const { return key_b.width == 0 && !value_is_key_a && key_a.width == value.width; }
    // Whether no two rows see the same.
    __host__ __device__ bool rows_apart() const { return listed.first != nullptr || recent.window > 0; }
    __host__ __device__ int partial_width() const { return value.width + 2; }
    // The first token that one sees which `end` are up to.
    __device__ int first_seen(int end) const {
        const int of_window = window > 0 ? max(0, end - window) : 0;
        return chunk > 0 ? max(of_window, (end - 1) / chunk * chunk) : of_window;
    }
    __device__ float* partial_at(const SequencePart& part, int row, int head) const {
        const int64_t vector = (static_cast<int64_t>(part.sequence) * split_rows + row) * heads + head;
        return partial + vector * splits * partial_width();
    }
};

// How many are listed; by whole warps, whose lanes ask for one place each.
__device__ inline int listed_count(const int32_t* list, int most) {
    int begin = 0, end = most;
    while (begin < end) {
        const int step = (end - begin + 31) / 32, at = begin + static_cast<int>(threadIdx.x % 32) * step;
        const int there = __popc(__ballot_sync(kAllLanes, at < end && list[at] != kNoToken));
        end = there == 0 ? begin : min(end, begin + there * step);
        if (there > 0) begin += (there - 1) * step + 1;
    }
    return begin;
}

__device__ inline const uint8_t* row_at(const AttendArgs& args, const CacheRows& rows, int sequence, int key_head,
                                        int token) {
    const int tokens = args.cache.page_tokens;
    const int64_t page = args.cache.pages[sequence][token / tokens];
    return args.cache.pool + page * static_cast<int64_t>(args.cache.page_bytes) + rows.first +
           key_head * rows.head_bytes + token % tokens * rows.token_bytes;
}

__device__ inline float number_at(KvFormat format, const uint8_t* row, int i) {
    if (format == KvFormat::kBF16)
        return __uint_as_float(static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(row)[i]) << 16);
    if (format == KvFormat::kF32) return reinterpret_cast<const float*>(row)[i];
    return static_cast<float>(static_cast<int8_t>(row[4 + i])) * *reinterpret_cast<const float*>(row);
}

// Two numbers rounded to BF16.
__device__ __forceinline__ uint32_t rounded_pair(float low, float high) {
    uint32_t pair = 0;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

constexpr float kLog2E = 1.44269504f;
__device__ __forceinline__ float power_of_two(float x) {
    float result = 0;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// A sequence with so many new rows or fewer is split over its cache.
constexpr int kFewRows = 8;

// Sets splits and split_rows; returns the bytes that `partial` needs.
uint64_t plan_splits(AttendArgs& args, const Sequences& sequences);
// Without `partial` it plans for itself.
void attend(Device& device, AttendArgs args, const Sequences& sequences);
// The sequences with many new rows, and those with few, on tensor cores; false, and nothing done, where the form of
// heads or cache or the card is none for that.
bool prefill(Device& device, const AttendArgs& args, const Sequences& sequences);
bool decode(Device& device, AttendArgs args, const Sequences& sequences);
CachePages pages_of(const PagedCache& cache);
// Lets rows see what is listed; all where there is no list.
void list_seen(AttendArgs& args, const Tensor& selected);
AttendArgs arguments_of(const Attention& op);

}  // namespace sluice::cuda
