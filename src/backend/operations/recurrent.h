#pragma once

// Operations of gated DeltaNet, whose layers keep a state of fixed size per sequence. See backend/operations.h.

#include <cstdint>

#include "backend/operations/attention.h"
#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// A recurrent layer's states of all sequences of a batch, read and replaced: that of sequence s, F32 [rows, columns],
// lies slots[s] * slot_bytes into the pool. No two sequences share a slot.
struct StateSlots {
    BufferPtr pool;
    uint64_t slot_bytes = 0;
    Tensor slots;  // I32 [S, 1]
    int64_t rows = 0, columns = 0;

    static void fields(auto& op, auto&& field) {
        field("pool", op.pool);
        field("slot_bytes", op.slot_bytes);
        field("slots", op.slots, Access::kRead);
        field("rows", op.rows);
        field("columns", op.columns);
    }
};

// Qwen3-Next's fused projections, per key head [q | k | v r*dv | z r*dv] and [b r | a r] with r = value_heads /
// key_heads, to [all q | all k | all v], z, b and a.
struct SplitLinearProjections {
    static constexpr const char* kName = "SplitLinearProjections";
    Tensor qkvz;  // [T, key_heads * (2 * key_dim + 2 * r * value_dim)]
    Tensor ba;    // [T, 2 * value_heads]
    int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
    Tensor qkv;   // [T, 2 * key_heads * key_dim + value_heads * value_dim]
    Tensor z;     // [T, value_heads * value_dim]
    Tensor b, a;  // [T, value_heads]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("qkvz", op.qkvz, Access::kRead);
        field("ba", op.ba, Access::kRead);
        field("key_heads", op.key_heads);
        field("value_heads", op.value_heads);
        field("key_dim", op.key_dim);
        field("value_dim", op.value_dim);
        field("qkv", op.qkv, Access::kWritten);
        field("z", op.z, Access::kWritten);
        field("b", op.b, Access::kWritten);
        field("a", op.a, Access::kWritten);
    }
};

// Causal depthwise convolution, then silu. A state is the last kernel-1 inputs, oldest first: F32 [kernel-1,
// channels]. Tap kernel-1 is on the current token.
struct CausalConvolution {
    static constexpr const char* kName = "CausalConvolution";
    Tensor x;       // [T, channels]
    Tensor weight;  // [channels, kernel]
    Sequences sequences;
    StateSlots states;
    Tensor out;  // [T, channels]; not x

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("weight", op.weight, Access::kRead);
        field("sequences", op.sequences);
        field("states", op.states);
        field("out", op.out, Access::kWritten);
    }
};

// Gated delta rule. q and k are L2-normalized per head (eps 1e-6 inside the root), q times 1/sqrt(key_dim); g =
// exp(-exp(a_log) softplus(a + dt_bias)), beta = sigmoid(b); value head h uses key head h / (value_heads / key_heads),
// or, where they are tiled, h % key_heads.
// State S [value_heads * value_dim, key_dim] in F32: S = g S; S += beta (v - S k) k^T; out = S q.
struct GatedDeltaRule {
    static constexpr const char* kName = "GatedDeltaRule";
    Tensor qkv;             // [T, 2 * key_heads * key_dim + value_heads * value_dim]
    Tensor b, a;            // [T, value_heads]
    Tensor a_log, dt_bias;  // [1, value_heads]
    int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
    bool tiled = false;
    Sequences sequences;
    StateSlots states;
    Tensor out;  // [T, value_heads * value_dim]

    int64_t key_head_of(int64_t value_head) const {
        return tiled ? value_head % key_heads : value_head / (value_heads / key_heads);
    }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("qkv", op.qkv, Access::kRead);
        field("b", op.b, Access::kRead);
        field("a", op.a, Access::kRead);
        field("a_log", op.a_log, Access::kRead);
        field("dt_bias", op.dt_bias, Access::kRead);
        field("key_heads", op.key_heads);
        field("value_heads", op.value_heads);
        field("key_dim", op.key_dim);
        field("value_dim", op.value_dim);
        field("tiled", op.tiled);
        field("sequences", op.sequences);
        field("states", op.states);
        field("out", op.out, Access::kWritten);
    }
};

// Per head: out = rms(x, weight) * silu(z). May be in place on x.
struct GatedRmsNorm {
    static constexpr const char* kName = "GatedRmsNorm";
    Tensor x;       // [T, heads * width]
    Tensor z;       // [T, heads * width]
    Tensor weight;  // [1, width]
    float epsilon = 0;
    Tensor out;  // [T, heads * width]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kReadInPlace);
        field("z", op.z, Access::kRead);
        field("weight", op.weight, Access::kRead);
        field("epsilon", op.epsilon);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
