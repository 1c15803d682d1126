#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/operations.h"
#include "base/error.h"

namespace sluice {

// Shapes fit each other and memory, and tensors are apart as Access asks. Throws kUsage naming operation and field.
void check_operation(const Operation& operation);

inline constexpr int64_t kAnySize = -1;  // one that is not fixed by the other fields

// How an operation takes the rows of a weight: one after the other, or in tiles as well.
enum class RowOrder : uint8_t { kRows, kRowsOrTiles };

// Checks the fields of one operation. Every failure is kUsage and names operation and field.
class OperationCheck {
  public:
    explicit OperationCheck(std::string_view operation) : operation_(operation) {}

    template <typename... Args>
    [[noreturn]] void refuse(std::string_view field, fmt::format_string<Args...> format, Args&&... args) const {
        fail(ErrorCode::kUsage, "{}: {} {}", operation_, field, fmt::format(format, std::forward<Args>(args)...));
    }

    // [offset, offset + bytes) lies inside the buffer.
    void range(std::string_view field, const BufferPtr& buffer, uint64_t offset, uint64_t bytes) const;
    // 1 <= value <= 2^24, so that products of two sizes cannot overflow.
    void size(std::string_view field, int64_t value) const;
    // `whole` is a multiple of `part`.
    void multiple(std::string_view field, int64_t whole, int64_t part) const;

    void tensor(std::string_view field, const Tensor& tensor, int64_t rows, int64_t columns,
                DType dtype = DType::kF32) const;
    void weight(std::string_view field, const Weight& weight, int64_t rows, int64_t columns,
                RowOrder order = RowOrder::kRows) const;
    // Numbers of rows, [*, 1]: which they are is known when the operation runs.
    void rows(std::string_view field, const Tensor& numbers) const;

    void sequences(const Sequences& sequences) const;
    // Pages of so many bytes, or more, for every sequence.
    void cache(const PagedCache& cache, const Sequences& sequences, uint64_t page_bytes) const;
    void states(const StateSlots& states, const Sequences& sequences, int64_t rows, int64_t columns) const;
    // The same of those of which most stays as it is: they have one slot.
    void own_states(const StateSlots& states, const Sequences& sequences, int64_t rows, int64_t columns) const;

  private:
    void weight_format(std::string_view field, const WeightFormat& format) const;

    std::string_view operation_;
};

// Both regions lie inside their buffers and are of the same size.
void check_copy(const Region& source, const Region& target);

}  // namespace sluice
