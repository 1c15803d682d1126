#pragma once

// Operations of residual streams that are read and written through gates. See backend/operations.h. A row of n streams
// holds one after the other.

#include <cstdint>

#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// x = gain * sigmoid(factor * x), or x = gain * silu(factor * x), in place.
struct Gate {
    static constexpr const char* kName = "Gate";
    Tensor x;  // [T, n]
    float factor = 1, gain = 1;
    bool silu = false;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kUpdated);
        field("factor", op.factor);
        field("gain", op.gain);
        field("silu", op.silu);
    }
};

// out = mean over the streams of sigmoid(gates) * stream.
struct AverageGatedStreams {
    static constexpr const char* kName = "AverageGatedStreams";
    Tensor streams;  // [T, n * hidden]
    Tensor gates;    // [T, n * hidden]
    Tensor out;      // [T, hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("streams", op.streams, Access::kRead);
        field("gates", op.gates, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// Per stream: out = sigmoid(a) * value, where a is keys . queries / sqrt(hidden), replaced by the root of its magnitude
// (1e-6 at least) with its sign; 0 stays 0.
struct MatchStreams {
    static constexpr const char* kName = "MatchStreams";
    Tensor keys, queries;  // [T, n * hidden]
    Tensor value;          // [T, hidden]
    Tensor out;            // [T, n * hidden]

    static constexpr float kLeastMagnitude = 1e-6f;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("keys", op.keys, Access::kRead);
        field("queries", op.queries, Access::kRead);
        field("value", op.value, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
