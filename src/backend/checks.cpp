#include "backend/checks.h"

#include <algorithm>

#include "backend/kv_layout.h"
#include "tensor/codec.h"
#include "tensor/row_tiles.h"

namespace sluice {

namespace {

constexpr int64_t kLargestSize = int64_t{1} << 24;
constexpr int64_t kMostRows = (int64_t{1} << 31) - 1;

// "[*, 8]": a size that may be any is a star.
std::string shape_text(int64_t rows, int64_t columns) {
    const auto size = [](int64_t value) { return value == kAnySize ? std::string("*") : std::to_string(value); };
    return fmt::format("[{}, {}]", size(rows), size(columns));
}

bool fits(int64_t value, int64_t wanted, int64_t smallest) {
    if (wanted != kAnySize) return value == wanted;
    return value >= smallest && value <= kMostRows;
}

}  // namespace

void OperationCheck::range(std::string_view field, const BufferPtr& buffer, uint64_t offset, uint64_t bytes) const {
    if (buffer == nullptr) refuse(field, "has no buffer: allocate one");
    if (offset > buffer->bytes() || bytes > buffer->bytes() - offset) {
        refuse(field, "wants {} bytes at offset {} of a buffer of {} bytes: allocate a larger one", bytes, offset,
               buffer->bytes());
    }
}

void OperationCheck::size(std::string_view field, int64_t value) const {
    if (value < 1 || value > kLargestSize) refuse(field, "is {}: it must be from 1 to {}", value, kLargestSize);
}

void OperationCheck::multiple(std::string_view field, int64_t whole, int64_t part) const {
    if (whole % part != 0) refuse(field, "is {}: it must be a multiple of {}", whole, part);
}

void OperationCheck::tensor(std::string_view field, const Tensor& tensor, int64_t rows, int64_t columns,
                            DType dtype) const {
    if (tensor.dtype != dtype || !fits(tensor.rows, rows, 0) || !fits(tensor.columns, columns, 1)) {
        refuse(field, "is {} [{}, {}]: it must be {} {}", dtype_name(tensor.dtype), tensor.rows, tensor.columns,
               dtype_name(dtype), shape_text(rows, columns));
    }
    if (tensor.row_stride < tensor.columns || tensor.row_stride > kMostRows) {
        refuse(field, "has rows {} elements apart: they must be from {} to {} apart", tensor.row_stride, tensor.columns,
               kMostRows);
    }
    if (tensor.offset % dtype_bytes(dtype) != 0) {
        refuse(field, "starts at byte {}: it must be a multiple of {}", tensor.offset, dtype_bytes(dtype));
    }
    if (tensor.rows == 0) {
        range(field, tensor.buffer, tensor.offset, 0);
        return;
    }
    const int64_t elements = (tensor.rows - 1) * tensor.row_stride + tensor.columns;
    range(field, tensor.buffer, tensor.offset, static_cast<uint64_t>(elements) * dtype_bytes(dtype));
}

void OperationCheck::weight(std::string_view field, const Weight& weight, int64_t rows, int64_t columns,
                            RowOrder order) const {
    if (!fits(weight.rows, rows, 1) || !fits(weight.columns, columns, 1)) {
        refuse(field, "is [{}, {}]: it must be {}", weight.rows, weight.columns, shape_text(rows, columns));
    }
    const WeightFormat& format = weight.format;
    weight_format(field, format);
    if (weight.block_row_offset < 0 || weight.block_row_offset >= format.group_rows) {
        refuse(field, "starts at row {} of a block of {}: it must start inside the block", weight.block_row_offset,
               format.group_rows);
    }
    if (weight.columns % format.run_columns() != 0) {
        refuse(field, "has {} columns in groups of {}: the group must divide them", weight.columns,
               format.run_columns());
    }
    if (weight.tiled && order == RowOrder::kRows) {
        refuse(field, "stands in tiles: its rows must stand one after the other");
    }
    if (weight.tiled && !fits_tiles(format, weight.rows, weight.columns)) {
        refuse(field, "stands in tiles with {} rows of {}: tiles are {} rows of a format that has tiles", weight.rows,
               format.describe(), kTileRows);
    }
    range(field, weight.data.buffer, weight.data.offset, format.data_bytes(weight.rows, weight.columns));
    if (format.has_scales()) {
        range(fmt::format("scales of {}", field), weight.scales.buffer, weight.scales.offset,
              format.scale_bytes(weight.rows + weight.block_row_offset, weight.columns));
    }
    if (format.has_zero_points()) {
        range(fmt::format("zero points of {}", field), weight.zero_points.buffer, weight.zero_points.offset,
              format.zero_point_bytes(weight.rows, weight.columns));
    }
}

void OperationCheck::weight_format(std::string_view field, const WeightFormat& format) const {
    if (format.supported()) return;
    refuse(field, "is {} with {}, {} bits, groups of {}: {}", format.describe(), dtype_name(format.dtype), format.bits,
           format.group_size, format.codec->choices());
}

void OperationCheck::rows(std::string_view field, const Tensor& numbers) const {
    tensor(field, numbers, kAnySize, 1, DType::kI32);
}

void OperationCheck::sequences(const Sequences& sequences) const {
    tensor("rows of sequences", sequences.rows, kAnySize, 3, DType::kI32);
    size("most_rows of sequences", sequences.most_rows);
    size("most_tokens of sequences", sequences.most_tokens);
}

void OperationCheck::cache(const PagedCache& cache, const Sequences& sequences, uint64_t page_bytes) const {
    tensor("pages of cache", cache.pages, sequences.rows.rows, kAnySize, DType::kI32);
    range("pool of cache", cache.pool, 0, 0);
    if (cache.page_bytes < page_bytes) {
        refuse("page_bytes of cache", "are {}: {} tokens take {}", cache.page_bytes, cache.page_tokens, page_bytes);
    }
}

void OperationCheck::states(const StateSlots& states, const Sequences& sequences, int64_t rows, int64_t columns) const {
    if (states.rows != rows || states.columns != columns) {
        refuse("states", "are [{}, {}]: they must be {}", states.rows, states.columns, shape_text(rows, columns));
    }
    tensor("slots of states", states.slots, sequences.rows.rows, states.slots.columns == 2 ? 2 : 1, DType::kI32);
    range("pool of states", states.pool, 0, 0);
    const uint64_t bytes = static_cast<uint64_t>(rows * columns) * sizeof(float);
    if (states.slot_bytes < bytes || states.slot_bytes % sizeof(float) != 0) {
        refuse("slot_bytes of states", "are {}: a state takes {}, in whole floats", states.slot_bytes, bytes);
    }
}

void OperationCheck::own_states(const StateSlots& states, const Sequences& sequences, int64_t rows,
                                int64_t columns) const {
    this->states(states, sequences, rows, columns);
    tensor("slots of states", states.slots, sequences.rows.rows, 1, DType::kI32);
}

void check_copy(const Region& source, const Region& target) {
    const OperationCheck check("copy");
    check.range("source", source.buffer, source.offset, source.bytes);
    check.range("target", target.buffer, target.offset, target.bytes);
    if (source.bytes != target.bytes) {
        check.refuse("target", "has {} bytes for {} of the source: name as many", target.bytes, source.bytes);
    }
}

}  // namespace sluice
