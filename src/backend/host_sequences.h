#pragma once

// What the tensors of a step's sequences, caches and row numbers hold, for backends that compute on the host. All throw
// kUsage, naming operation and field, for what cannot be.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "backend/operations.h"

namespace sluice {

// The rows of one sequence in a batch: rows [first_row, first_row + count), at positions position, position + 1, ...
struct SequenceRows {
    int64_t first_row = 0;
    int64_t count = 0;
    int64_t position = 0;
};

// One sequence's part of a PagedCache: its pages in order, enough for positions up to rows.position + rows.count.
struct KvPages {
    KvFormat format = KvFormat::kF32;
    int64_t page_tokens = 0;
    std::vector<std::byte*> pages;
};

struct KvSegment {
    SequenceRows rows;
    KvPages cache;
};

// One sequence's state of StateSlots, [rows, columns] without gaps.
struct StateSegment {
    SequenceRows rows;
    float* state = nullptr;
};

// Of an operation named so over `batch_rows` rows.
std::vector<SequenceRows> sequence_rows(std::string_view operation, const Sequences& sequences, int64_t batch_rows);
std::vector<KvSegment> kv_segments(std::string_view operation, const Sequences& sequences, const PagedCache& cache,
                                   int64_t batch_rows);
std::vector<StateSegment> state_segments(std::string_view operation, const Sequences& sequences,
                                         const StateSlots& states, int64_t batch_rows);

// The tokens of one row of a selection (I32 [T, *]: see SelectTokens), for a row at `position`.
std::span<const int32_t> selected_tokens(std::string_view operation, const Tensor& selected, int64_t row,
                                         int64_t position);

// Of one row of SharedKeyAttention at `position`: the runs that it sees.
std::vector<int64_t> seen_runs(const SharedKeyAttention& op, int64_t row, int64_t position);

// Row numbers of a tensor with `limit` rows, I32 [*, 1].
class RowNumbers {
  public:
    RowNumbers(std::string_view operation, std::string_view field, const Tensor& numbers, int64_t limit);
    // 0, 1, ..., count - 1.
    explicit RowNumbers(int64_t count) : count_(count) {}

    int64_t size() const { return count_; }
    int64_t operator[](int64_t i) const { return numbers_ == nullptr ? i : numbers_[i * stride_]; }

  private:
    const int32_t* numbers_ = nullptr;
    int64_t count_ = 0, stride_ = 1;
};

// The experts of a row that its token's row of the table names, as many as `ids` has columns.
const int32_t* named_experts(const Route& op, int64_t row);

// The rows of one MlpGroup.
struct MlpRows {
    RowNumbers rows, out_rows;
};
// Of every group; no row of `out` is named twice.
std::vector<MlpRows> mlp_rows(const GatedMlp& op);

}  // namespace sluice
