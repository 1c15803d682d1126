#pragma once

// Operations on one row at a time: embedding, projections, norms, gates. See backend/operations.h.

#include <cstdint>

#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// out[t] = table[ids[t]].
struct Embed {
    static constexpr const char* kName = "Embed";
    Tensor ids;    // I32 [T, 1]
    Weight table;  // [vocabulary, hidden]
    Tensor out;    // [T, hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("ids", op.ids, Access::kRead);
        field("table", op.table, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// Per row and per run of `width` values: out = x * rsqrt(mean(x^2) + epsilon) * weight, the weight being that of one
// run or of several, which it is then repeated for. May be in place.
struct RmsNorm {
    static constexpr const char* kName = "RmsNorm";
    Tensor x;           // [T, n * weight.columns]
    Tensor weight;      // [1, m * width]
    int64_t width = 0;  // 0: weight.columns
    float epsilon = 0;
    Tensor out;  // [T, x.columns]

    int64_t run() const { return width == 0 ? weight.columns : width; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kReadInPlace);
        field("weight", op.weight, Access::kRead);
        field("width", op.width);
        field("epsilon", op.epsilon);
        field("out", op.out, Access::kWritten);
    }
};

// Per row and per run of weight.columns values: out = (x - mean(x)) * rsqrt(variance(x) + epsilon) * weight + bias. May
// be in place.
struct LayerNorm {
    static constexpr const char* kName = "LayerNorm";
    Tensor x;             // [T, n * width]
    Tensor weight, bias;  // [1, width]
    float epsilon = 0;
    Tensor out;  // [T, n * width]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kReadInPlace);
        field("weight", op.weight, Access::kRead);
        field("bias", op.bias, Access::kRead);
        field("epsilon", op.epsilon);
        field("out", op.out, Access::kWritten);
    }
};

// out = x . weight^T + bias, or out += with `accumulate`.
struct Linear {
    static constexpr const char* kName = "Linear";
    Tensor x;          // [T, in]
    Weight weight;     // [out, in]
    Tensor bias = {};  // [1, out], or empty: zero
    Tensor out;        // [T, out]
    bool accumulate = false;
    bool full_precision = false;  // F32 activations even where the backend would quantize them (routers)

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("weight", op.weight, Access::kRead);
        field("bias", op.bias, Access::kRead);
        field("out", op.out, op.accumulate ? Access::kUpdated : Access::kWritten);
        field("accumulate", op.accumulate);
        field("full_precision", op.full_precision);
    }
};

// Rotates dims [first, first + 2 * frequencies.columns) of every head, in place: angle = position * frequency, cos and
// sin times `magnitude`. Pairs (i, i + half), or (2i, 2i + 1) when interleaved.
struct Rotary {
    static constexpr const char* kName = "Rotary";
    Tensor x;            // [T, heads * head_dim]
    Tensor positions;    // I32 [T, 1]
    Tensor frequencies;  // [1, rotary / 2]
    int64_t head_dim = 0;
    int64_t first = 0;
    bool interleaved = false;
    float magnitude = 1;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kUpdated);
        field("positions", op.positions, Access::kRead);
        field("frequencies", op.frequencies, Access::kRead);
        field("head_dim", op.head_dim);
        field("first", op.first);
        field("interleaved", op.interleaved);
        field("magnitude", op.magnitude);
    }
};

// Splits gated attention's projection, per head [q | gate].
struct SplitQueryGate {
    static constexpr const char* kName = "SplitQueryGate";
    Tensor fused;  // [T, heads * 2 * head_dim]
    int64_t head_dim = 0;
    Tensor query;  // [T, heads * head_dim]
    Tensor gate;   // [T, heads * head_dim]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("fused", op.fused, Access::kRead);
        field("head_dim", op.head_dim);
        field("query", op.query, Access::kWritten);
        field("gate", op.gate, Access::kWritten);
    }
};

// x *= sigmoid(gate), or x *= silu(gate), in place. A gate stands for a run of n / m values.
struct SigmoidGate {
    static constexpr const char* kName = "SigmoidGate";
    Tensor x;     // [T, n]
    Tensor gate;  // [T, m]
    bool silu = false;

    int64_t run() const { return x.columns / gate.columns; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kUpdated);
        field("gate", op.gate, Access::kRead);
        field("silu", op.silu);
    }
};

// out += x, or out += sigmoid(gate) * x with one gate value per row (gate.buffer may be null).
struct AddGated {
    static constexpr const char* kName = "AddGated";
    Tensor x;     // [T, hidden]
    Tensor gate;  // [T, 1] or empty
    Tensor out;   // [T, hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("gate", op.gate, Access::kRead);
        field("out", op.out, Access::kUpdated);
    }
};

// x = x * factor, with a limit cut to [-limit, limit], with a cap cap * tanh(x * factor / cap); in place.
struct Scale {
    static constexpr const char* kName = "Scale";
    Tensor x;  // [T, n]
    float factor = 1;
    float limit = 0, cap = 0;  // 0: none; not both

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kUpdated);
        field("factor", op.factor);
        field("limit", op.limit);
        field("cap", op.cap);
    }
};

// x[t] *= 1 + factor * ln(1 + floor((positions[t] + 1) / interval)), in place.
struct ScaleByPosition {
    static constexpr const char* kName = "ScaleByPosition";
    Tensor x;          // [T, n]
    Tensor positions;  // I32 [T, 1]
    float factor = 0, interval = 1;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kUpdated);
        field("positions", op.positions, Access::kRead);
        field("factor", op.factor);
        field("interval", op.interval);
    }
};

// out[i] = x[rows[i]].
struct GatherRows {
    static constexpr const char* kName = "GatherRows";
    Tensor x;     // [T, n]
    Tensor rows;  // I32 [*, 1]
    Tensor out;   // [rows.rows, n]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("rows", op.rows, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// out[t] = the column of the largest number of x[t], the first of equals; -1 where one of them is not finite.
struct ArgMax {
    static constexpr const char* kName = "ArgMax";
    Tensor x;    // [T, n]
    Tensor out;  // I32 [T, 1]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
