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
    Tensor slots;  // I32 [S, 1], or [S, 2]: what is read in the first slot stays there, and goes on in the second
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

// Causal depthwise convolution, its bias added, then silu. Tap kernel-1 is on the current token, the others `distance`
// tokens apart before it. A state is the last (kernel-1) * distance inputs, oldest first: F32 [*, channels].
struct CausalConvolution {
    static constexpr const char* kName = "CausalConvolution";
    Tensor x;          // [T, channels]
    Tensor weight;     // [channels, kernel]
    Tensor bias = {};  // [1, channels], or empty: zero
    int64_t distance = 1;
    Sequences sequences;
    StateSlots states;
    Tensor out;  // [T, channels]; not x

    int64_t history() const { return (weight.columns - 1) * distance; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("weight", op.weight, Access::kRead);
        field("bias", op.bias, Access::kRead);
        field("distance", op.distance);
        field("sequences", op.sequences);
        field("states", op.states);
        field("out", op.out, Access::kWritten);
    }
};

// Mamba-2's recurrence: with dt = softplus(dt + dt_bias), per head h of group h / (heads / groups), S [heads *
// head_dim, state_dim] in F32: S = exp(-exp(a_log) dt) S + dt x B^T; out = S C + skip x.
struct SelectiveScan {
    static constexpr const char* kName = "SelectiveScan";
    Tensor xbc;                   // [T, heads * head_dim + 2 * groups * state_dim]: x, then B, then C of all groups
    Tensor dt;                    // [T, heads]
    Tensor a_log, dt_bias, skip;  // [1, heads]
    int64_t heads = 0, head_dim = 0, groups = 0, state_dim = 0;
    Sequences sequences;
    StateSlots states;
    Tensor out;  // [T, heads * head_dim]

    int64_t inner() const { return heads * head_dim; }
    int64_t group_of(int64_t head) const { return head / (heads / groups); }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("xbc", op.xbc, Access::kRead);
        field("dt", op.dt, Access::kRead);
        field("a_log", op.a_log, Access::kRead);
        field("dt_bias", op.dt_bias, Access::kRead);
        field("skip", op.skip, Access::kRead);
        field("heads", op.heads);
        field("head_dim", op.head_dim);
        field("groups", op.groups);
        field("state_dim", op.state_dim);
        field("sequences", op.sequences);
        field("states", op.states);
        field("out", op.out, Access::kWritten);
    }
};

// Gated delta rule. q and k are L2-normalized per head (eps 1e-6 inside the root), q times 1/sqrt(key_dim); g =
// exp(-exp(a_log) softplus(a + dt_bias)), or, with a bound, exp(decay_bound sigmoid(exp(a_log) (a + dt_bias))); beta =
// sigmoid(b); value head h uses key head h / (value_heads / key_heads), or, where they are tiled, h % key_heads.
// State S [value_heads * value_dim, key_dim] in F32: S = S diag(g); S += beta (v - S k) k^T; out = S q.
struct GatedDeltaRule {
    static constexpr const char* kName = "GatedDeltaRule";
    Tensor qkv;      // [T, 2 * key_heads * key_dim + value_heads * value_dim]
    Tensor b;        // [T, value_heads]
    Tensor a;        // [T, value_heads], or [T, value_heads * key_dim]: a decay for each channel of a key
    Tensor a_log;    // [1, value_heads]
    Tensor dt_bias;  // [1, a.columns]
    int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
    bool tiled = false;
    float decay_bound = 0;  // of ln g, negative; 0: none
    Sequences sequences;
    StateSlots states;
    Tensor out;  // [T, value_heads * value_dim]

    int64_t key_head_of(int64_t value_head) const {
        return tiled ? value_head % key_heads : value_head / (value_heads / key_heads);
    }
    bool decays_by_channel() const { return a.columns != value_heads; }

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
        field("decay_bound", op.decay_bound);
        field("sequences", op.sequences);
        field("states", op.states);
        field("out", op.out, Access::kWritten);
    }
};

// Per head: out = rms(x, weight) * silu(z), or * sigmoid(z). May be in place on x.
struct GatedRmsNorm {
    static constexpr const char* kName = "GatedRmsNorm";
    Tensor x;       // [T, heads * width]
    Tensor z;       // [T, heads * width]
    Tensor weight;  // [1, width]
    float epsilon = 0;
    bool sigmoid = false;
    Tensor out;  // [T, heads * width]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kReadInPlace);
        field("z", op.z, Access::kRead);
        field("weight", op.weight, Access::kRead);
        field("epsilon", op.epsilon);
        field("sigmoid", op.sigmoid);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
