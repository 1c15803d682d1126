#include "backend/host_sequences.h"

#include <algorithm>
#include <numeric>

#include "backend/checks.h"
#include "backend/host_tensors.h"
#include "base/error.h"

namespace sluice {

namespace {

// Page `number` of those that the pool holds.
std::byte* page_of(const OperationCheck& check, const PagedCache& cache, std::span<std::byte> pool, int64_t number) {
    const auto held = static_cast<int64_t>(pool.size() / cache.page_bytes);
    if (number < 0 || number >= held) check.refuse("pages of cache", "name page {}: the pool has {}", number, held);
    return pool.data() + static_cast<uint64_t>(number) * cache.page_bytes;
}

}  // namespace

std::vector<SequenceRows> sequence_rows(std::string_view operation, const Sequences& sequences, int64_t batch_rows) {
    const OperationCheck check(operation);
    const int32_t* values = ints(sequences.rows);
    std::vector<SequenceRows> result;
    int64_t next_row = 0;
    for (int64_t s = 0; s < sequences.rows.rows; ++s, values += sequences.rows.row_stride) {
        const SequenceRows rows{.first_row = values[0], .count = values[1], .position = values[2]};
        if (rows.first_row != next_row || rows.count < 1 || rows.position < 0) {
            check.refuse("sequences",
                         "hold {} rows from {} at position {}: rows must follow each other from {}, positions start "
                         "at 0",
                         rows.count, rows.first_row, rows.position, next_row);
        }
        if (rows.count > sequences.most_rows || rows.position + rows.count > sequences.most_tokens) {
            check.refuse("sequences", "hold {} rows at position {}: said were {} rows and {} tokens at most",
                         rows.count, rows.position, sequences.most_rows, sequences.most_tokens);
        }
        next_row += rows.count;
        result.push_back(rows);
    }
    if (next_row != batch_rows) check.refuse("sequences", "hold {} rows: the batch has {}", next_row, batch_rows);
    return result;
}

std::vector<KvSegment> kv_segments(std::string_view operation, const Sequences& sequences, const PagedCache& cache,
                                   int64_t batch_rows) {
    const OperationCheck check(operation);
    const std::span<std::byte> pool = writable_host_bytes(cache.pool);
    const int32_t* numbers = ints(cache.pages);
    std::vector<KvSegment> segments;
    for (const SequenceRows& rows : sequence_rows(operation, sequences, batch_rows)) {
        KvSegment& segment =
            segments.emplace_back(rows, KvPages{.format = cache.format, .page_tokens = cache.page_tokens, .pages = {}});
        const int64_t tokens = rows.position + rows.count;
        const int64_t wanted = (tokens + cache.page_tokens - 1) / cache.page_tokens;
        if (wanted > cache.pages.columns) {
            check.refuse("pages of cache", "name {} pages of {} tokens: {} tokens need {}", cache.pages.columns,
                         cache.page_tokens, tokens, wanted);
        }
        segment.cache.pages.reserve(static_cast<size_t>(wanted));
        for (int64_t i = 0; i < wanted; ++i) {
            segment.cache.pages.push_back(page_of(check, cache, pool, numbers[i]));
        }
        numbers += cache.pages.row_stride;
    }
    return segments;
}

std::vector<StateSegment> state_segments(std::string_view operation, const Sequences& sequences,
                                         const StateSlots& states, int64_t batch_rows) {
    const OperationCheck check(operation);
    const std::span<std::byte> pool = writable_host_bytes(states.pool);
    const auto held = static_cast<int64_t>(pool.size() / states.slot_bytes);
    const int32_t* slots = ints(states.slots);
    std::vector<StateSegment> segments;
    std::vector<int32_t> taken;
    const auto place_of = [&](int32_t slot) {
        if (slot < 0 || slot >= held) check.refuse("slots of states", "name slot {}: there are {}", slot, held);
        if (std::ranges::find(taken, slot) != taken.end()) {
            check.refuse("slots of states", "name slot {} twice: every sequence has one of its own", slot);
        }
        taken.push_back(slot);
        return reinterpret_cast<float*>(pool.data() + static_cast<uint64_t>(slot) * states.slot_bytes);
    };
    for (const SequenceRows& rows : sequence_rows(operation, sequences, batch_rows)) {
        const int32_t read = slots[0], written = slots[states.slots.columns - 1];
        float* state = place_of(read);
        if (written != read) {
            float* const next = place_of(written);
            std::copy_n(state, states.rows * states.columns, next);
            state = next;
        }
        segments.push_back({rows, state});
        slots += states.slots.row_stride;
    }
    return segments;
}

std::span<const int32_t> selected_tokens(std::string_view operation, const Tensor& selected, int64_t row,
                                         int64_t position) {
    const int32_t* tokens = ints(selected) + row * selected.row_stride;
    const OperationCheck check(operation);
    size_t count = 0;
    for (int64_t before = -1; count < static_cast<size_t>(selected.columns); ++count) {
        const int64_t token = tokens[count];
        if (token == kNoToken) break;
        if (token <= before || token > position) {
            check.refuse("selected", "has token {} after {} for position {}", token, before, position);
        }
        before = token;
    }
    if (count == 0) check.refuse("selected", "has no token for position {}", position);
    return {tokens, count};
}

std::vector<int64_t> seen_runs(const SharedKeyAttention& op, int64_t row, int64_t position) {
    std::vector<int64_t> seen;
    if (op.ratio == 0) return seen;
    const int64_t complete = (position + 1) / op.ratio;
    if (op.runs.buffer == nullptr) {
        seen.resize(static_cast<size_t>(complete));
        std::iota(seen.begin(), seen.end(), 0);
        return seen;
    }
    const int32_t* runs = ints(op.runs) + row * op.runs.row_stride;
    for (int64_t i = 0; i < op.runs.columns && runs[i] != kNoToken; ++i) {
        const int64_t before = seen.empty() ? -1 : seen.back();
        if (runs[i] <= before || runs[i] >= complete) {
            OperationCheck(op.kName).refuse("runs", "has run {} after {} where {} are complete", runs[i], before,
                                            complete);
        }
        seen.push_back(runs[i]);
    }
    return seen;
}

RowNumbers::RowNumbers(std::string_view operation, std::string_view field, const Tensor& numbers, int64_t limit)
    : numbers_(ints(numbers)), count_(numbers.rows), stride_(numbers.row_stride) {
    for (int64_t i = 0; i < count_; ++i) {
        const int64_t row = (*this)[i];
        if (row >= 0 && row < limit) continue;
        OperationCheck(operation).refuse(field, "names row {}: there are {}", row, limit);
    }
}

const int32_t* named_experts(const Route& op, int64_t row) {
    const OperationCheck check(op.kName);
    const int64_t token = ints(op.tokens)[row * op.tokens.row_stride];
    if (token < 0 || token >= op.table.rows) {
        check.refuse("tokens", "holds {}: the table has {} rows", token, op.table.rows);
    }
    const int32_t* experts = ints(op.table) + token * op.table.row_stride;
    for (int64_t j = 0; j < op.table.columns; ++j) {
        if (experts[j] >= (j == 0 ? 0 : experts[j - 1]) && experts[j] < op.logits.columns) continue;
        check.refuse("table", "names expert {} for token {}: there are {}, in ascending order", experts[j], token,
                     op.logits.columns);
    }
    return experts;
}

std::vector<MlpRows> mlp_rows(const GatedMlp& op) {
    std::vector<bool> written(static_cast<size_t>(op.out.rows), false);
    std::vector<MlpRows> result;
    for (const MlpGroup& group : op.groups) {
        if (group.all_rows()) {
            result.push_back({RowNumbers(op.x.rows), RowNumbers(op.x.rows)});
        } else {
            result.push_back({RowNumbers(op.kName, "rows of groups", group.rows, op.x.rows),
                              RowNumbers(op.kName, "out_rows of groups", group.out_rows, op.out.rows)});
        }
        const RowNumbers& out_rows = result.back().out_rows;
        for (int64_t i = 0; i < out_rows.size(); ++i) {
            const auto row = static_cast<size_t>(out_rows[i]);
            if (written[row]) OperationCheck(op.kName).refuse("out_rows of groups", "name row {} twice", row);
            written[row] = true;
        }
    }
    return result;
}

}  // namespace sluice
