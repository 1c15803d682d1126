#pragma once

// Operations of the feed-forward: routers, gated MLPs, the sum of experts. See backend/operations.h.

#include <cstdint>
#include <vector>

#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// p = softmax(logits); the top_k largest (ties: lower id), in ascending id order; weights divided by their sum if
// asked.
struct RouteSoftmax {
    static constexpr const char* kName = "RouteSoftmax";
    Tensor logits;  // [T, experts]
    bool normalize = true;
    Tensor ids;      // I32 [T, top_k]
    Tensor weights;  // [T, top_k]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("logits", op.logits, Access::kRead);
        field("normalize", op.normalize);
        field("ids", op.ids, Access::kWritten);
        field("weights", op.weights, Access::kWritten);
    }
};

// DeepSeek-V3: s = sigmoid(logits), c = s + bias; a group's score is the sum of its two largest c; top_k of c inside
// the groups_kept best groups, in ascending id order; weights are s, divided by (sum + 1e-20) if asked, times scale.
struct RouteGrouped {
    static constexpr const char* kName = "RouteGrouped";
    Tensor logits;  // [T, experts]
    Tensor bias;    // [1, experts]
    int64_t groups = 1, groups_kept = 1;
    bool normalize = true;
    float scale = 1;
    Tensor ids;      // I32 [T, top_k]
    Tensor weights;  // [T, top_k]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("logits", op.logits, Access::kRead);
        field("bias", op.bias, Access::kRead);
        field("groups", op.groups);
        field("groups_kept", op.groups_kept);
        field("normalize", op.normalize);
        field("scale", op.scale);
        field("ids", op.ids, Access::kWritten);
        field("weights", op.weights, Access::kWritten);
    }
};

// One MLP and the rows it is applied to.
struct MlpGroup {
    Weight gate, up;                // [inner, hidden]
    Weight down;                    // [hidden, inner]
    std::vector<int32_t> rows;      // of x
    std::vector<int32_t> out_rows;  // of out, same length

    static void fields(auto& op, auto&& field) {
        field("gate", op.gate, Access::kRead);
        field("up", op.up, Access::kRead);
        field("down", op.down, Access::kRead);
        field("rows", op.rows);
        field("out_rows", op.out_rows);
    }
};

// For every group: out[out_row] = down . (silu(gate . x[row]) * (up . x[row])). Experts, shared experts and dense MLPs.
struct GatedMlp {
    static constexpr const char* kName = "GatedMlp";
    Tensor x;  // [T, hidden]
    std::vector<MlpGroup> groups;
    Tensor out;  // [*, hidden]; out_rows are distinct

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("groups", op.groups, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// out[t] += sum over j of weights[t, j] * parts[t * top_k + j], added in ascending j.
struct CombineExperts {
    static constexpr const char* kName = "CombineExperts";
    Tensor parts;    // [T * top_k, hidden]
    Tensor weights;  // [T, top_k]
    Tensor out;      // [T, hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("parts", op.parts, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("out", op.out, Access::kUpdated);
    }
};

}  // namespace sluice
