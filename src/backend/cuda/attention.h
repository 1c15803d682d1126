#pragma once

// Causal attention over pages, of either kind: the query vectors of all heads that share a key head meet the same keys
// and values.

#include <cstdint>

#include "backend/cuda/views.cuh"
#include "backend/kv_layout.h"

namespace sluice::cuda {

struct CachePages {
    const uint8_t* pool;
    uint64_t page_bytes;
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
    Rows<float> out;     // of a head value.width numbers
    // The split form's: per sequence, row of it, head and split the largest score, the sum of weights, value.width
    // sums.
    float* partial;
    int splits, split_rows;

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

// A sequence with so many new rows or fewer is split over its cache.
constexpr int kFewRows = 8;

// Sets splits and split_rows; returns the bytes that `partial` needs.
uint64_t plan_splits(AttendArgs& args, const Sequences& sequences);
void attend(Device& device, const AttendArgs& args, const Sequences& sequences);
CachePages pages_of(const PagedCache& cache);

}  // namespace sluice::cuda
