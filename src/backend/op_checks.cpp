// Backend::check of the operations that look at one row at a time.

#include <vector>

#include "backend/backend.h"
#include "backend/checks.h"

namespace sluice {

namespace {

constexpr int64_t kAny = OperationCheck::kAny;

void check_routes(const OperationCheck& check, const Tensor& logits, const Tensor& ids, const Tensor& weights,
                  int64_t selectable) {
    check.tensor("ids", ids, logits.rows, kAny, DType::kI32);
    check.tensor("weights", weights, logits.rows, ids.columns);
    if (ids.columns > selectable)
        check.refuse("ids", "hold {} experts: at most {} can be chosen", ids.columns, selectable);
    check.apart("weights", weights, "logits", logits);
    check.apart("ids", ids, "logits", logits);
    check.apart("ids", ids, "weights", weights);
}

}  // namespace

void Backend::check(const Embed& op) {
    const OperationCheck check(op.kName);
    check.weight("table", op.table, kAny, kAny);
    check.tensor("ids", op.ids, kAny, 1, DType::kI32);
    check.tensor("out", op.out, op.ids.rows, op.table.columns);
    check.apart("out", op.out, "ids", op.ids);
}

void Backend::check(const RmsNorm& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.tensor("weight", op.weight, 1, kAny);
    check.multiple("x.columns", op.x.columns, op.weight.columns);
    check.tensor("out", op.out, op.x.rows, op.x.columns);
    check.apart("out", op.out, "x", op.x, true);
    check.apart("out", op.out, "weight", op.weight);
}

void Backend::check(const Linear& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.weight("weight", op.weight, kAny, op.x.columns);
    check.tensor("out", op.out, op.x.rows, op.weight.rows);
    check.apart("out", op.out, "x", op.x);
}

void Backend::check(const Rotary& op) {
    const OperationCheck check(op.kName);
    check.size("head_dim", op.head_dim);
    check.tensor("x", op.x, kAny, kAny);
    check.multiple("x.columns", op.x.columns, op.head_dim);
    check.tensor("positions", op.positions, op.x.rows, 1, DType::kI32);
    check.tensor("frequencies", op.frequencies, 1, kAny);
    if (op.first < 0 || op.first > op.head_dim - 2 * op.frequencies.columns) {
        check.refuse("first", "is {}: {} rotated dims must fit a head of {}", op.first, 2 * op.frequencies.columns,
                     op.head_dim);
    }
}

void Backend::check(const SplitQueryGate& op) {
    const OperationCheck check(op.kName);
    check.size("head_dim", op.head_dim);
    check.tensor("fused", op.fused, kAny, kAny);
    check.multiple("fused.columns", op.fused.columns, 2 * op.head_dim);
    check.tensor("query", op.query, op.fused.rows, op.fused.columns / 2);
    check.tensor("gate", op.gate, op.fused.rows, op.fused.columns / 2);
    check.apart("query", op.query, "fused", op.fused);
    check.apart("gate", op.gate, "fused", op.fused);
    check.apart("gate", op.gate, "query", op.query);
}

void Backend::check(const SigmoidGate& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.tensor("gate", op.gate, op.x.rows, op.x.columns);
    check.apart("x", op.x, "gate", op.gate);
}

void Backend::check(const SplitLinearProjections& op) {
    const OperationCheck check(op.kName);
    check.size("key_heads", op.key_heads);
    check.size("value_heads", op.value_heads);
    check.size("key_dim", op.key_dim);
    check.size("value_dim", op.value_dim);
    check.multiple("value_heads", op.value_heads, op.key_heads);
    const int64_t keys = op.key_heads * op.key_dim;
    const int64_t values = op.value_heads * op.value_dim;
    check.tensor("qkvz", op.qkvz, kAny, 2 * keys + 2 * values);
    const int64_t rows = op.qkvz.rows;
    check.tensor("ba", op.ba, rows, 2 * op.value_heads);
    check.tensor("qkv", op.qkv, rows, 2 * keys + values);
    check.tensor("z", op.z, rows, values);
    check.tensor("b", op.b, rows, op.value_heads);
    check.tensor("a", op.a, rows, op.value_heads);
    const std::vector<std::pair<const char*, const Tensor*>> written = {
        {"qkv", &op.qkv}, {"z", &op.z}, {"b", &op.b}, {"a", &op.a}};
    for (size_t i = 0; i < written.size(); ++i) {
        check.apart(written[i].first, *written[i].second, "qkvz", op.qkvz);
        check.apart(written[i].first, *written[i].second, "ba", op.ba);
        for (size_t j = 0; j < i; ++j) {
            check.apart(written[i].first, *written[i].second, written[j].first, *written[j].second);
        }
    }
}

void Backend::check(const GatedRmsNorm& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.tensor("weight", op.weight, 1, kAny);
    check.multiple("x.columns", op.x.columns, op.weight.columns);
    check.tensor("z", op.z, op.x.rows, op.x.columns);
    check.tensor("out", op.out, op.x.rows, op.x.columns);
    check.apart("out", op.out, "x", op.x, true);
    check.apart("out", op.out, "z", op.z);
    check.apart("out", op.out, "weight", op.weight);
}

void Backend::check(const RouteSoftmax& op) {
    const OperationCheck check(op.kName);
    check.tensor("logits", op.logits, kAny, kAny);
    check_routes(check, op.logits, op.ids, op.weights, op.logits.columns);
}

void Backend::check(const RouteGrouped& op) {
    const OperationCheck check(op.kName);
    check.tensor("logits", op.logits, kAny, kAny);
    const int64_t experts = op.logits.columns;
    check.tensor("bias", op.bias, 1, experts);
    check.size("groups", op.groups);
    check.multiple("logits.columns", experts, op.groups);
    if (op.groups_kept < 1 || op.groups_kept > op.groups) {
        check.refuse("groups_kept", "is {}: it must be from 1 to the number of groups, {}", op.groups_kept, op.groups);
    }
    check_routes(check, op.logits, op.ids, op.weights, op.groups_kept * (experts / op.groups));
}

void Backend::check(const GatedMlp& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    const int64_t hidden = op.x.columns;
    check.tensor("out", op.out, kAny, hidden);
    check.apart("out", op.out, "x", op.x);
    std::vector<bool> written(static_cast<size_t>(op.out.rows), false);
    for (const MlpGroup& group : op.groups) {
        check.weight("gate of groups", group.gate, kAny, hidden);
        check.weight("up of groups", group.up, group.gate.rows, hidden);
        check.weight("down of groups", group.down, hidden, group.gate.rows);
        check.rows("rows of groups", group.rows, op.x.rows);
        check.rows("out_rows of groups", group.out_rows, op.out.rows);
        if (group.rows.size() != group.out_rows.size()) {
            check.refuse("out_rows of groups", "are {}, rows are {}: one for each", group.out_rows.size(),
                         group.rows.size());
        }
        for (const int32_t row : group.out_rows) {
            if (written[static_cast<size_t>(row)]) check.refuse("out_rows of groups", "name row {} twice", row);
            written[static_cast<size_t>(row)] = true;
        }
    }
}

void Backend::check(const CombineExperts& op) {
    const OperationCheck check(op.kName);
    check.tensor("weights", op.weights, kAny, kAny);
    check.tensor("out", op.out, op.weights.rows, kAny);
    check.tensor("parts", op.parts, op.weights.rows * op.weights.columns, op.out.columns);
    check.apart("out", op.out, "parts", op.parts);
    check.apart("out", op.out, "weights", op.weights);
}

void Backend::check(const AddGated& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.tensor("out", op.out, op.x.rows, op.x.columns);
    check.apart("out", op.out, "x", op.x);
    if (op.gate.buffer == nullptr) return;
    check.tensor("gate", op.gate, op.x.rows, 1);
    check.apart("out", op.out, "gate", op.gate);
}

void Backend::check(const GatherRows& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.rows("rows", op.rows, op.x.rows);
    check.tensor("out", op.out, static_cast<int64_t>(op.rows.size()), op.x.columns);
    check.apart("out", op.out, "x", op.x);
}

}  // namespace sluice
