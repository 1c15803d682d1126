#include "backend/checks.h"

#include <algorithm>

#include "backend/kv_layout.h"
#include "tensor/codec.h"

namespace sluice {

namespace {

constexpr int64_t kLargestSize = int64_t{1} << 24;
constexpr int64_t kMostRows = (int64_t{1} << 31) - 1;

// "[*, 8]": a size that may be any is a star.
std::string shape_text(int64_t rows, int64_t columns) {
    const auto size = [](int64_t value) {
        return value == OperationCheck::kAny ? std::string("*") : std::to_string(value);
    };
    return fmt::format("[{}, {}]", size(rows), size(columns));
}

bool fits(int64_t value, int64_t wanted, int64_t smallest) {
    if (wanted != OperationCheck::kAny) return value == wanted;
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

void OperationCheck::weight(std::string_view field, const Weight& weight, int64_t rows, int64_t columns) const {
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

void OperationCheck::rows(std::string_view field, const std::vector<int32_t>& rows, int64_t limit) const {
    for (const int32_t row : rows) {
        if (row < 0 || row >= limit) refuse(field, "names row {}: there are {}", row, limit);
    }
}

int64_t OperationCheck::follows(const SequenceRows& rows, int64_t next_row) const {
    if (rows.first_row != next_row || rows.count < 1 || rows.position < 0 || rows.position > kMostRows) {
        refuse("segments",
               "hold {} rows from {} at position {}: rows must follow each other from {}, positions start at 0",
               rows.count, rows.first_row, rows.position, next_row);
    }
    return next_row + std::min(rows.count, kMostRows);
}

void OperationCheck::segments(const std::vector<KvSegment>& segments, int64_t batch_rows) const {
    int64_t next_row = 0;
    for (const KvSegment& segment : segments) next_row = follows(segment.rows, next_row);
    if (next_row != batch_rows) refuse("segments", "hold {} rows: the batch has {}", next_row, batch_rows);
}

void OperationCheck::segments(const std::vector<StateSegment>& segments, int64_t batch_rows, int64_t state_rows,
                              int64_t state_columns) const {
    int64_t next_row = 0;
    for (const StateSegment& segment : segments) {
        next_row = follows(segment.rows, next_row);
        tensor("state of segments", segment.state, state_rows, state_columns);
    }
    if (next_row != batch_rows) refuse("segments", "hold {} rows: the batch has {}", next_row, batch_rows);
}

void OperationCheck::pages(const KvSegment& segment, uint64_t page_bytes) const {
    const int64_t tokens = segment.rows.position + segment.rows.count;
    const int64_t wanted = (tokens + segment.cache.page_tokens - 1) / segment.cache.page_tokens;
    if (static_cast<int64_t>(segment.cache.pages.size()) < wanted) {
        refuse("cache of segments", "has {} pages of {} tokens: {} tokens need {}", segment.cache.pages.size(),
               segment.cache.page_tokens, tokens, wanted);
    }
    for (int64_t page = 0; page < wanted; ++page) {
        range("cache page of segments", segment.cache.pages[static_cast<size_t>(page)], 0, page_bytes);
    }
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
