#pragma once

// Operations of the feed-forward: routers, gated MLPs, the sum of experts. See backend/operations.h.

#include <cstdint>
#include <string_view>
#include <vector>

#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// What a router makes of a logit.
enum class RouterScore : uint8_t { kSoftmax, kSigmoid, kSqrtSoftplus };
std::string_view name_of(RouterScore score);

// s = score(logits), c = s + bias. Of the groups (runs of experts / groups experts) the groups_kept best are kept, a
// group's worth being the sum of its two largest c; of their experts the top_k with the largest c (ties: lower id) are
// chosen, in ascending id order. Their weights are s, divided by (their sum + 1e-20) if asked, times scale, times the
// expert's own scale. With a table no score chooses: those are its row of the token's id, which names them in ascending
// order.
// Softmax without groups: Mixtral, Qwen; sigmoid with groups and bias: DeepSeek-V3; sqrt(softplus): DeepSeek-V4.
struct Route {
    static constexpr const char* kName = "Route";
    Tensor logits;             // [T, experts]
    Tensor bias = {};          // [1, experts], or empty: zero
    Tensor expert_scale = {};  // [1, experts], or empty: one
    Tensor tokens = {};        // I32 [T, 1], beside a table
    Tensor table = {};         // I32 [vocabulary, top_k], or empty: there is none
    RouterScore score = RouterScore::kSoftmax;
    int64_t groups = 1, groups_kept = 1;
    bool normalize = true;
    float scale = 1;
    Tensor ids;      // I32 [T, top_k]
    Tensor weights;  // [T, top_k]

    // Whether the choice is by the scores themselves.
    bool plain_choice() const { return bias.buffer == nullptr && groups == 1; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("logits", op.logits, Access::kRead);
        field("bias", op.bias, Access::kRead);
        field("expert_scale", op.expert_scale, Access::kRead);
        field("tokens", op.tokens, Access::kRead);
        field("table", op.table, Access::kRead);
        field("score", op.score);
        field("groups", op.groups);
        field("groups_kept", op.groups_kept);
        field("normalize", op.normalize);
        field("scale", op.scale);
        field("ids", op.ids, Access::kWritten);
        field("weights", op.weights, Access::kWritten);
    }
};

// How an MLP joins gate and up.
enum class ActivationKind : uint8_t {
    kSilu,           // silu(gate) * up
    kGeluTanh,       // gelu(gate) * up, gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
    kClampedSwiglu,  // g * sigmoid(alpha * g) * (u + up_offset), g = min(gate, limit), u = clamp(up, -limit, limit)
    kCutSilu,        // min(silu(gate), limit) * clamp(up, -limit, limit)
    kSquaredRelu,    // max(up, 0)^2: there is no gate
};
std::string_view name_of(ActivationKind kind);

struct Activation {
    ActivationKind kind = ActivationKind::kSilu;
    float alpha = 1, limit = 0,
          up_offset = 0;  // of kClampedSwiglu, and the limit of kCutSilu; gpt-oss has 1.702, 7 and 1

    bool gated() const { return kind != ActivationKind::kSquaredRelu; }

    static void fields(auto& value, auto&& field) {
        field("kind", value.kind);
        field("alpha", value.alpha);
        field("limit", value.limit);
        field("up_offset", value.up_offset);
    }
};

// One MLP and the rows it is applied to.
struct MlpGroup {
    Weight gate, up;                                      // [inner, hidden]; gate means nothing where there is none
    Weight down;                                          // [hidden, inner]
    Tensor gate_bias = {}, up_bias = {}, down_bias = {};  // [1, inner], [1, inner] and [1, hidden], or empty: zero
    // I32 [*, 1] each, as many: numbers of rows of x and of out. Both empty: row t of x goes to row t of out, for all.
    Tensor rows = {}, out_rows = {};

    bool all_rows() const { return rows.buffer == nullptr; }

    static void fields(auto& op, auto&& field) {
        field("gate", op.gate, Access::kRead);
        field("up", op.up, Access::kRead);
        field("down", op.down, Access::kRead);
        field("gate_bias", op.gate_bias, Access::kRead);
        field("up_bias", op.up_bias, Access::kRead);
        field("down_bias", op.down_bias, Access::kRead);
        field("rows", op.rows, Access::kRead);
        field("out_rows", op.out_rows, Access::kRead);
    }
};

// For every group: out[out_row] = down . activation(gate . x[row], up . x[row]), each product with its bias added.
// Experts, shared experts, dense MLPs.
struct GatedMlp {
    static constexpr const char* kName = "GatedMlp";
    Tensor x;  // [T, hidden]
    std::vector<MlpGroup> groups;
    Tensor out;  // [*, hidden]; out_rows are distinct
    Activation activation = {};

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("groups", op.groups, Access::kRead);
        field("out", op.out, Access::kWritten);
        field("activation", op.activation);
    }
};

// How records of a layer that are in another memory come to slots of this one while a step runs: into slots that nobody
// else uses, which are taken in turn. A record comes in pieces of kArrivalBytes, whoever copies them; it is there when
// none is left. All of it changes while operations run that name it, by atomics: nobody waits for another because of
// it, and results do not depend on it.
struct ExpertArrivals {
    Tensor claims;   // I32 [experts + 1, 1]: the entry that an expert has, or 0; at last whether the layer has begun
    Tensor entries;  // I32 [1 + n, 4]: {taken, n, 0, 0}; then {slot, number, pieces that are taken, pieces left}
    int64_t number = 0;  // of the layer's first expert among all, counted from 1

    bool any() const { return claims.buffer != nullptr; }

    static void fields(auto& op, auto&& field) {
        field("claims", op.claims, Access::kRead);
        field("entries", op.entries, Access::kRead);
        field("number", op.number);
    }
};
constexpr int64_t kArrivalBytes = 16 << 10;

// The experts of a layer, in one memory: expert e is `expert`, slots[e] * slot_bytes further; of biases it is row e.
// Slots from `first_more` on are in another memory, which begins with that one: see Backend::reaches().
struct ExpertRecords {
    MlpGroup expert;  // in slot 0; biases [experts, *], or empty; no rows
    uint64_t slot_bytes = 0;
    Tensor slots;          // I32 [experts, 1]
    WeightPart more = {};  // no buffer: there is no other
    int64_t first_more = 0;
    ExpertArrivals arrivals = {};  // of those in the other memory; may be empty

    static void fields(auto& op, auto&& field) {
        field("expert", op.expert);
        field("slot_bytes", op.slot_bytes);
        field("slots", op.slots, Access::kRead);
        field("more", op.more);
        field("first_more", op.first_more);
        field("arrivals", op.arrivals);
    }
};

// out[t * top_k + j] = what expert ids[t, j] makes of x[t], as GatedMlp says. Who chose need not be known to the host.
struct RoutedMlp {
    static constexpr const char* kName = "RoutedMlp";
    Tensor x;    // [T, hidden], or [T * top_k, hidden]: a row for each choice
    Tensor ids;  // I32 [T, top_k]: of a row all distinct
    ExpertRecords records;
    Tensor out;  // [T * top_k, hidden]
    Activation activation = {};

    bool row_per_choice() const { return x.rows != ids.rows; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("ids", op.ids, Access::kRead);
        field("records", op.records);
        field("out", op.out, Access::kWritten);
        field("activation", op.activation);
    }
};

// Experts that a row will probably choose, its largest logits, come to slots as far as there are any, the likeliest
// first, until the layer begins. Guesses: nothing but time depends on what is fetched.
struct FetchExperts {
    static constexpr const char* kName = "FetchExperts";
    Tensor logits;  // [1, experts]
    int64_t top_k = 1;
    ExpertRecords records;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("logits", op.logits, Access::kRead);
        field("top_k", op.top_k);
        field("records", op.records);
    }
};

// out[t * top_k + j] = weights[t, j] * x[t]: what experts read that are weighed before they work.
struct WeighRows {
    static constexpr const char* kName = "WeighRows";
    Tensor x;        // [T, hidden]
    Tensor weights;  // [T, top_k]
    Tensor out;      // [T * top_k, hidden]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("x", op.x, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// out[t] = sum over j of weights[t, j] * parts[t * top_k + j], added in ascending j to 0, or to what out holds.
struct CombineExperts {
    static constexpr const char* kName = "CombineExperts";
    Tensor parts;    // [T * top_k, hidden]
    Tensor weights;  // [T, top_k], or empty: one
    Tensor out;      // [T, hidden]
    bool accumulate = true;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("parts", op.parts, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("out", op.out, op.accumulate ? Access::kUpdated : Access::kWritten);
        field("accumulate", op.accumulate);
    }
};

}  // namespace sluice
