#include "backend/host_routes.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "backend/checks.h"
#include "backend/host_tensors.h"
#include "backend/operations/arrival_entry.h"

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

// The first entry that nobody has; null where there is none.
ArrivalEntry* take_entry(ArrivalEntry* entries) {
    int32_t& taken = entries[0].slot;
    return taken < entries[0].number ? &entries[++taken] : nullptr;
}

}  // namespace

void fetch(const FetchExperts& op) {
    const ExpertRecords& records = op.records;
    if (!records.arrivals.any() || records.more.buffer == nullptr) return;
    int32_t* const claims = writable_ints(records.arrivals.claims);
    auto* const entries = reinterpret_cast<ArrivalEntry*>(writable_ints(records.arrivals.entries));
    std::vector<int64_t> order(static_cast<size_t>(op.logits.columns));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater<>(), [&](int64_t expert) { return floats(op.logits)[expert]; });
    order.resize(static_cast<size_t>(op.top_k));
    for (const int64_t expert : order) {
        const int64_t slot = ints(records.slots)[expert * records.slots.row_stride];
        if (slot < records.first_more || claims[expert] != 0) continue;
        ArrivalEntry* const entry = take_entry(entries);
        if (entry == nullptr) return;
        claims[expert] = static_cast<int32_t>(entry - entries);
        const std::span<const std::byte> from =
            host_bytes(records.more.buffer)
                .subspan(records.more.offset + static_cast<uint64_t>(slot - records.first_more) * records.slot_bytes,
                         records.slot_bytes);
        std::byte* const to = writable_host_bytes(records.expert.up.data.buffer).data();
        std::ranges::copy(from, to + static_cast<uint64_t>(entry->slot) * records.slot_bytes);
        entry->number = static_cast<int32_t>(records.arrivals.number + expert);
        entry->taken = arrival_pieces(records.slot_bytes);
        entry->left = 0;
    }
}

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
