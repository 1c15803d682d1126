#include "backend/host_routes.h"

#include <algorithm>
#include <vector>

#include "backend/checks.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

Tensor row_numbers(const std::vector<int32_t>& numbers) {
    auto buffer = HostBuffer::allocate(numbers.size() * sizeof(int32_t));
    const Tensor tensor = make_tensor(std::move(buffer), DType::kI32, static_cast<int64_t>(numbers.size()), 1);
    std::ranges::copy(numbers, writable_ints(tensor));
    return tensor;
}

// Expert `index` of the records, for no rows yet.
MlpGroup expert_of(const RoutedMlp& op, int64_t index) {
    const ExpertRecords& records = op.records;
    const int64_t slot = ints(records.slots)[index * records.slots.row_stride];
    const OperationCheck check(op.kName);
    if (slot < 0) check.refuse("slots of records", "has no slot of expert {}", index);
    const bool more = records.more.buffer != nullptr && slot >= records.first_more;
    const uint64_t bytes = static_cast<uint64_t>(more ? slot - records.first_more : slot) * records.slot_bytes;
    const auto shifted = [&](Weight weight) {
        for (WeightPart* part : {&weight.data, &weight.scales, &weight.zero_points}) {
            if (part->buffer == nullptr) continue;
            *part = more ? further(records.more, part->offset + bytes) : further(*part, bytes);
        }
        check.weight("matrices of records", weight, kAnySize, kAnySize, RowOrder::kRowsOrTiles);
        return weight;
    };
    MlpGroup group = records.expert;
    if (op.activation.gated()) group.gate = shifted(group.gate);
    group.up = shifted(group.up);
    group.down = shifted(group.down);
    for (Tensor* bias : {&group.gate_bias, &group.up_bias, &group.down_bias}) {
        if (bias->buffer != nullptr) *bias = bias->rows_at(index, 1);
    }
    return group;
}

}  // namespace

GatedMlp grouped(const RoutedMlp& op) {
    const int64_t experts = op.records.slots.rows, top_k = op.ids.columns;
    std::vector<std::vector<int32_t>> choices(static_cast<size_t>(experts));
    for (int64_t t = 0; t < op.ids.rows; ++t) {
        for (int64_t j = 0; j < top_k; ++j) {
            const int32_t expert = ints(op.ids)[t * op.ids.row_stride + j];
            if (expert < 0 || expert >= experts)
                OperationCheck(op.kName).refuse("ids", "names expert {} of {}", expert, experts);
            choices[static_cast<size_t>(expert)].push_back(static_cast<int32_t>(t * top_k + j));
        }
    }
    GatedMlp result{.x = op.x, .groups = {}, .out = op.out, .activation = op.activation};
    for (int64_t e = 0; e < experts; ++e) {
        const std::vector<int32_t>& mine = choices[static_cast<size_t>(e)];
        if (mine.empty()) continue;
        MlpGroup group = expert_of(op, e);
        group.out_rows = row_numbers(mine);
        std::vector<int32_t> rows = mine;
        if (!op.row_per_choice()) {
            for (int32_t& row : rows) row /= static_cast<int32_t>(top_k);
        }
        group.rows = row_numbers(rows);
        result.groups.push_back(std::move(group));
    }
    return result;
}

}  // namespace sluice
