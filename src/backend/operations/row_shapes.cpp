// Shapes of the operations that look at one row at a time.

#include <string_view>

#include "backend/checks.h"
#include "backend/operations.h"

namespace sluice {

namespace {

void check_bias(const OperationCheck& check, std::string_view field, const Tensor& bias, int64_t columns) {
    if (bias.buffer != nullptr) check.tensor(field, bias, 1, columns);
}

}  // namespace

void Embed::check_shapes(const OperationCheck& check) const {
    check.weight("table", table, kAnySize, kAnySize, RowOrder::kRowsOrTiles);
    check.tensor("ids", ids, kAnySize, 1, DType::kI32);
    check.tensor("out", out, ids.rows, table.columns);
}

void RmsNorm::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("weight", weight, 1, kAnySize);
    check.multiple("x.columns", x.columns, weight.columns);
    if (width != 0) {
        check.size("width", width);
        check.multiple("weight.columns", weight.columns, width);
    }
    check.tensor("out", out, x.rows, x.columns);
}

void Linear::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.weight("weight", weight, kAnySize, x.columns, full_precision ? RowOrder::kRows : RowOrder::kRowsOrTiles);
    check_bias(check, "bias", bias, weight.rows);
    check.tensor("out", out, x.rows, weight.rows);
}

void Rotary::check_shapes(const OperationCheck& check) const {
    check.size("head_dim", head_dim);
    check.tensor("x", x, kAnySize, kAnySize);
    check.multiple("x.columns", x.columns, head_dim);
    check.tensor("positions", positions, x.rows, 1, DType::kI32);
    check.tensor("frequencies", frequencies, 1, kAnySize);
    if (first < 0 || first > head_dim - 2 * frequencies.columns) {
        check.refuse("first", "is {}: {} rotated dims must fit a head of {}", first, 2 * frequencies.columns, head_dim);
    }
}

void SplitQueryGate::check_shapes(const OperationCheck& check) const {
    check.size("head_dim", head_dim);
    check.tensor("fused", fused, kAnySize, kAnySize);
    check.multiple("fused.columns", fused.columns, 2 * head_dim);
    check.tensor("query", query, fused.rows, fused.columns / 2);
    check.tensor("gate", gate, fused.rows, fused.columns / 2);
}

void SigmoidGate::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("gate", gate, x.rows, kAnySize);
    if (gate.columns == 0 || x.columns % gate.columns != 0) {
        check.refuse("gate", "has {} columns, which do not divide the {} of x", gate.columns, x.columns);
    }
}

void SplitLinearProjections::check_shapes(const OperationCheck& check) const {
    check.size("key_heads", key_heads);
    check.size("value_heads", value_heads);
    check.size("key_dim", key_dim);
    check.size("value_dim", value_dim);
    check.multiple("value_heads", value_heads, key_heads);
    const int64_t keys = key_heads * key_dim;
    const int64_t values = value_heads * value_dim;
    check.tensor("qkvz", qkvz, kAnySize, 2 * keys + 2 * values);
    const int64_t rows = qkvz.rows;
    check.tensor("ba", ba, rows, 2 * value_heads);
    check.tensor("qkv", qkv, rows, 2 * keys + values);
    check.tensor("z", z, rows, values);
    check.tensor("b", b, rows, value_heads);
    check.tensor("a", a, rows, value_heads);
}

void LayerNorm::check_shapes(const OperationCheck& check) const {
    check.tensor("weight", weight, 1, kAnySize);
    check.tensor("bias", bias, 1, weight.columns);
    check.tensor("x", x, kAnySize, kAnySize);
    check.multiple("x.columns", x.columns, weight.columns);
    check.tensor("out", out, x.rows, x.columns);
}

void ConnectStreams::check_shapes(const OperationCheck& check) const {
    check.size("count", count);
    check.size("rounds", rounds);
    check.tensor("coefficients", coefficients, kAnySize, reads_alone() ? count : (2 + count) * count);
    check.tensor("streams", streams, coefficients.rows, kAnySize);
    check.multiple("streams.columns", streams.columns, count);
    check.tensor("base", base, 1, coefficients.columns);
    check.tensor("scale", scale, 1, reads_alone() ? 1 : 3);
}

void WeighStreams::check_shapes(const OperationCheck& check) const {
    check.tensor("out", out, kAnySize, kAnySize);
    check.tensor("streams", streams, out.rows, kAnySize);
    check.multiple("streams.columns", streams.columns, out.columns);
    if (weights.buffer != nullptr) check.tensor("weights", weights, out.rows, streams.columns / out.columns);
}

void MixStreams::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("weights", weights, x.rows, kAnySize);
    check.tensor("streams", streams, x.rows, weights.columns * x.columns);
    if (mix.buffer != nullptr) check.tensor("mix", mix, x.rows, weights.columns * weights.columns);
}

void GatedRmsNorm::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("weight", weight, 1, kAnySize);
    check.multiple("x.columns", x.columns, weight.columns);
    check.tensor("z", z, x.rows, x.columns);
    check.tensor("out", out, x.rows, x.columns);
}

void Route::check_shapes(const OperationCheck& check) const {
    check.tensor("logits", logits, kAnySize, kAnySize);
    const int64_t experts = logits.columns;
    if (bias.buffer != nullptr) check.tensor("bias", bias, 1, experts);
    if (expert_scale.buffer != nullptr) check.tensor("expert_scale", expert_scale, 1, experts);
    check.size("groups", groups);
    check.multiple("logits.columns", experts, groups);
    if (groups_kept < 1 || groups_kept > groups) {
        check.refuse("groups_kept", "is {}: it must be from 1 to the number of groups, {}", groups_kept, groups);
    }
    check.tensor("ids", ids, logits.rows, kAnySize, DType::kI32);
    check.tensor("weights", weights, logits.rows, ids.columns);
    if (table.buffer != nullptr) {
        check.tensor("table", table, kAnySize, ids.columns, DType::kI32);
        check.tensor("tokens", tokens, logits.rows, 1, DType::kI32);
    }
    const int64_t selectable = groups_kept * (experts / groups);
    if (ids.columns > selectable) {
        check.refuse("ids", "hold {} experts: at most {} can be chosen", ids.columns, selectable);
    }
}

namespace {

// The matrices of an MLP, and their biases where it has some, [biases, *] each.
void check_mlp(const OperationCheck& check, const MlpGroup& group, const Activation& activation, int64_t hidden,
               int64_t biases) {
    const auto bias = [&](std::string_view field, const Tensor& rows, int64_t columns) {
        if (rows.buffer != nullptr) check.tensor(field, rows, biases, columns);
    };
    const int64_t inner = activation.gated() ? group.gate.rows : group.up.rows;
    if (activation.gated()) {
        check.weight("gate of groups", group.gate, kAnySize, hidden, RowOrder::kRowsOrTiles);
        bias("gate_bias of groups", group.gate_bias, inner);
    }
    check.weight("up of groups", group.up, inner, hidden, RowOrder::kRowsOrTiles);
    check.weight("down of groups", group.down, hidden, inner, RowOrder::kRowsOrTiles);
    bias("up_bias of groups", group.up_bias, inner);
    bias("down_bias of groups", group.down_bias, hidden);
}

}  // namespace

void GatedMlp::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    const int64_t hidden = x.columns;
    check.tensor("out", out, kAnySize, hidden);
    for (const MlpGroup& group : groups) {
        check_mlp(check, group, activation, hidden, 1);
        if (group.all_rows()) {
            check.tensor("out", out, x.rows, hidden);
            continue;
        }
        check.rows("rows of groups", group.rows);
        check.rows("out_rows of groups", group.out_rows);
        if (group.rows.rows != group.out_rows.rows) {
            check.refuse("out_rows of groups", "are {}, rows are {}: one for each", group.out_rows.rows,
                         group.rows.rows);
        }
    }
}

namespace {

void check_arrivals(const OperationCheck& check, const ExpertRecords& records) {
    const ExpertArrivals& arrivals = records.arrivals;
    check.tensor("claims of records", arrivals.claims, records.slots.rows + 1, 1, DType::kI32);
    check.tensor("entries of records", arrivals.entries, kAnySize, 4, DType::kI32);
}

}  // namespace

void RoutedMlp::check_shapes(const OperationCheck& check) const {
    check.tensor("ids", ids, kAnySize, kAnySize, DType::kI32);
    const int64_t choices = ids.rows * ids.columns;
    check.tensor("x", x, x.rows == choices ? choices : ids.rows, kAnySize);
    check.tensor("out", out, choices, x.columns);
    check.tensor("slots of records", records.slots, kAnySize, 1, DType::kI32);
    check_mlp(check, records.expert, activation, x.columns, records.slots.rows);
    if (records.arrivals.any()) check_arrivals(check, records);
}

void FetchExperts::check_shapes(const OperationCheck& check) const {
    check.tensor("logits", logits, 1, kAnySize);
    check.tensor("slots of records", records.slots, logits.columns, 1, DType::kI32);
    if (top_k < 1 || top_k > logits.columns) check.refuse("top_k", "is {}: experts are {}", top_k, logits.columns);
    if (records.arrivals.any()) check_arrivals(check, records);
}

void WeighRows::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("weights", weights, x.rows, kAnySize);
    check.tensor("out", out, weights.rows * weights.columns, x.columns);
}

void CombineExperts::check_shapes(const OperationCheck& check) const {
    check.tensor("out", out, kAnySize, kAnySize);
    check.tensor("parts", parts, kAnySize, out.columns);
    check.multiple("parts.rows", parts.rows, out.rows);
    if (weights.buffer != nullptr) check.tensor("weights", weights, out.rows, parts.rows / out.rows);
}

void AddGated::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("out", out, x.rows, x.columns);
    if (gate.buffer != nullptr) check.tensor("gate", gate, x.rows, 1);
}

void Scale::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    if (!(limit >= 0)) check.refuse("limit", "is {}: it must be above 0, or 0 for none", limit);
    if (!(cap >= 0)) check.refuse("cap", "is {}: it must be above 0, or 0 for none", cap);
    if (limit != 0 && cap != 0) check.refuse("cap", "is {} beside a limit of {}: only one of them may be", cap, limit);
}

void Gate::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
}

void AverageGatedStreams::check_shapes(const OperationCheck& check) const {
    check.tensor("out", out, kAnySize, kAnySize);
    check.tensor("streams", streams, out.rows, kAnySize);
    check.multiple("streams.columns", streams.columns, out.columns);
    check.tensor("gates", gates, out.rows, streams.columns);
}

void MatchStreams::check_shapes(const OperationCheck& check) const {
    check.tensor("value", value, kAnySize, kAnySize);
    check.tensor("keys", keys, value.rows, kAnySize);
    check.multiple("keys.columns", keys.columns, value.columns);
    check.tensor("queries", queries, value.rows, keys.columns);
    check.tensor("out", out, value.rows, keys.columns);
}

void ScaleByPosition::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("positions", positions, x.rows, 1, DType::kI32);
    if (!(interval >= 1)) check.refuse("interval", "is {}: it must be at least 1", interval);
}

void GatherRows::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.rows("rows", rows);
    check.tensor("out", out, rows.rows, x.columns);
}

void ArgMax::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("out", out, x.rows, 1, DType::kI32);
}

void DrawToken::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("settings", settings, x.rows, kDrawColumns, DType::kI32);
    check.tensor("out", out, x.rows, 1, DType::kI32);
}

}  // namespace sluice
