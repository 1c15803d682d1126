#pragma once

// States of sequences, and the gated delta rule as its kernels see it.

#include "backend/cuda/views.cuh"

namespace sluice::cuda {

struct StateTable {
    std::byte* pool;
    uint64_t slot_bytes;
    Rows<const int32_t> slots;
    int written;  // column of `slots`
    __device__ float* of(int sequence) const { return at(slots[sequence][0]); }
    __device__ float* next_of(int sequence) const { return at(slots[sequence][written]); }
    __device__ float* at(int slot) const {
        return reinterpret_cast<float*>(pool + static_cast<uint64_t>(slot) * slot_bytes);
    }
    bool in_fours() const { return (reinterpret_cast<uint64_t>(pool) | slot_bytes) % 16 == 0; }
};

inline StateTable table_of(const StateSlots& states) {
    return {device_bytes(states.pool), states.slot_bytes, ints_of(states.slots),
            static_cast<int>(states.slots.columns) - 1};
}

// Whether every row may be read 16 bytes at a time.
template <typename Element>
bool in_fours(const Rows<Element>& rows) {
    return reinterpret_cast<uint64_t>(rows.first) % 16 == 0 && rows.stride % 4 == 0;
}

// To about 2^-21 of it: the convolution reads and writes faster than exact quotients are made.
__device__ inline float quick_silu(float x) {
    return __fdividef(x, 1.0f + __expf(-x));
}

// Whether the kernel of four taps convolves, whose silu is quick.
bool convolves_in_fours(const CausalConvolution& op);

struct DeltaArgs {
    Rows<const float> qkv, b, a;
    const float *a_log, *dt_bias;
    int key_heads, value_heads, key_dim, value_dim;
    bool tiled, by_channel;
    float bound;  // of ln g; 0: none
    SequenceTable sequences;
    StateTable states;
    Rows<float> out;

    __device__ int key_head_of(int head) const { return tiled ? head % key_heads : head / (value_heads / key_heads); }
    __device__ const float* query(int64_t row, int key_head) const {
        return qkv[row] + static_cast<int64_t>(key_head) * key_dim;
    }
    __device__ const float* key(int64_t row, int key_head) const { return query(row, key_heads + key_head); }
    __device__ const float* value(int64_t row, int head) const {
        return query(row, 2 * key_heads) + static_cast<int64_t>(head) * value_dim;
    }
    __device__ const float* state_of(int sequence, int head) const { return states.of(sequence) + first_of(head); }
    __device__ float* next_state_of(int sequence, int head) const { return states.next_of(sequence) + first_of(head); }
    __device__ int64_t first_of(int head) const { return static_cast<int64_t>(head) * value_dim * key_dim; }
    // ln g of a head, which is not positive, and beta.
    __device__ float log_decay(int64_t row, int head) const {
        return log_decay_of(a[row][head], a_log[head], dt_bias[head]);
    }
    __device__ float log_decay_of(float a, float a_log, float dt_bias) const {
        const float x = a + dt_bias;
        if (bound != 0) return bound * sigmoid(expf(a_log) * x);
        return -expf(a_log) * (x > 30.0f ? x : log1pf(expf(x)));
    }
    __device__ float beta(int64_t row, int head) const { return sigmoid(b[row][head]); }
};

constexpr float kSmallestSquares = 1e-6f;  // beneath the root that a query or key is divided by

// Sequences of more new rows than this are computed in chunks, where the card and the shape allow it.
constexpr int kTokenwiseRows = 32;
bool takes_chunks(const Device& device, const GatedDeltaRule& op);
void run_chunks(Device& device, const DeltaArgs& args, int64_t rows);

}  // namespace sluice::cuda
