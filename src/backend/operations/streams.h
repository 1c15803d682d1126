#pragma once

// Operations of a residual of several streams. See backend/operations.h. A row of n streams holds one after the other.

#include <cstdint>

#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// What a hyper-connection makes of its projection, in place. With y = coefficients * rsqrt(mean(streams^2) +
// norm_epsilon), in three runs of n, n and n * n values, scale one factor for each and base one offset for each value:
//     read = sigmoid(y * scale + base) + epsilon, the weights by which a block reads the streams;
//     write = 2 sigmoid(y * scale + base), the streams' shares of what it computes;
//     mix = softmax over the rows of y * scale + base as [n, n], + epsilon; then its columns are divided by their sums
//     + epsilon, and `rounds` - 1 times its rows, then its columns (Sinkhorn).
// Of n columns all are read.
struct ConnectStreams {
    static constexpr const char* kName = "ConnectStreams";
    Tensor coefficients;  // [T, (2 + n) * n], or [T, n]
    Tensor streams;       // [T, n * hidden]
    Tensor base;          // [1, coefficients.columns]
    Tensor scale;         // [1, 3], or [1, 1]
    int64_t count = 0;    // n
    int64_t rounds = 1;
    float norm_epsilon = 0, epsilon = 0;

    bool reads_alone() const { return coefficients.columns == count; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("coefficients", op.coefficients, Access::kUpdated);
        field("streams", op.streams, Access::kRead);
        field("base", op.base, Access::kRead);
        field("scale", op.scale, Access::kRead);
        field("count", op.count);
        field("rounds", op.rounds);
        field("norm_epsilon", op.norm_epsilon);
        field("epsilon", op.epsilon);
    }
};

// out = sum over k of weights_k * stream_k; without weights the mean of the streams.
struct WeighStreams {
    static constexpr const char* kName = "WeighStreams";
    Tensor streams;       // [T, n * hidden]
    Tensor weights = {};  // [T, n], or empty
    Tensor out;           // [T, hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("streams", op.streams, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// stream_k = weights_k * x + sum over j of mix[j, k] * stream_j, in place; without a mix weights_k * x + stream_k.
struct MixStreams {
    static constexpr const char* kName = "MixStreams";
    Tensor x;         // [T, hidden]
    Tensor weights;   // [T, n]
    Tensor mix = {};  // [T, n * n], or empty
    Tensor streams;   // [T, n * hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("mix", op.mix, Access::kRead);
        field("streams", op.streams, Access::kUpdated);
    }
};

}  // namespace sluice
