#include "model/trunk.h"

#include <algorithm>

#include "base/error.h"
#include "base/mapped_pages.h"
#include "tensor/row_tiles.h"

namespace sluice {

WeightPart Trunk::part(const ByteRange& range) {
    if (range.bytes == 0) return {};
    return {backend_.adopt(checkpoint_.mapped(range), checkpoint_.owner_of(range)), 0};
}

Weight Trunk::weight(int layer, Role role) {
    const WeightSource& source = checkpoint_.weight(layer, role);
    if (source.form.as_format()) return source.placed([&](const ByteRange& range) { return part(range); });
    const ArrangedMatrix matrix = checkpoint_.arranged(source);
    const BufferPtr buffer = backend_.adopt(matrix.memory->bytes(), matrix.memory);
    return matrix.layout.placed([&](uint64_t offset) { return WeightPart{buffer, offset}; });
}

Weight Trunk::projection(int layer, Role role) {
    const WeightSource& source = checkpoint_.weight(layer, role);
    const bool tiles = form_ == TrunkForm::kFastest && source.form.as_format() &&
                       fits_tiles(source.format, source.rows, source.columns);
    return tiles && backend_.reads_tiles(source.format) ? tiled(source) : weight(layer, role);
}

// The mapping's pages go back to the system, so that the matrix is in memory once.
Weight Trunk::tiled(const WeightSource& source) {
    constexpr int64_t kRowsAtOnce = 16 * kTileRows;
    const WeightFormat& format = source.format;
    const WeightView rows = checkpoint_.view(source);
    Weight tiles = source.placed([&](const ByteRange& range) { return WeightPart{backend_.allocate(range.bytes), 0}; });
    tiles.tiled = true;
    std::vector<std::byte> data(format.data_bytes(kRowsAtOnce, source.columns));
    std::vector<std::byte> scales(format.scale_bytes(format.group_rows - 1 + kRowsAtOnce, source.columns));
    std::vector<std::byte> zero_points(format.zero_point_bytes(kRowsAtOnce, source.columns));
    const auto put = [&](const WeightPart& part, std::span<const std::byte> bytes) {
        if (!bytes.empty()) backend_.upload(part.buffer, part.offset, bytes);
    };
    for (int64_t row = 0; row < source.rows; row += kRowsAtOnce) {
        const int64_t count = std::min(kRowsAtOnce, source.rows - row);
        const Weight to = tiles.rows_at(row, count);
        tile_rows(rows.rows_at(row, count), {data.data(), scales.data(), zero_points.data()});
        put(to.data, std::span(data).first(format.data_bytes(count, source.columns)));
        put(to.scales, std::span(scales).first(format.scale_bytes(to.block_row_offset + count, source.columns)));
        put(to.zero_points, std::span(zero_points).first(format.zero_point_bytes(count, source.columns)));
    }
    for (const ByteRange& range : {source.data, source.scales, source.zero_points}) {
        if (range.bytes > 0) let_go(checkpoint_.mapped(range));
    }
    return tiles;
}

Weight Trunk::rows(int layer, Role role, std::span<const int64_t> rows) {
    const WeightSource& source = checkpoint_.weight(layer, role);
    const WeightView whole = checkpoint_.view(source);
    const bool common_scales = whole.format.group_rows >= whole.rows;
    if (whole.format.group_rows > 1 && !common_scales) {
        fail(ErrorCode::kUnsupported, "{}: tensor {}: {} is not supported where rows are taken apart",
             checkpoint_.files()[source.data.file].path.string(), source.spelled, whole.format.describe());
    }
    const auto gather = [&](const std::byte* data, uint64_t row_bytes, bool common) -> WeightPart {
        if (row_bytes == 0) return {};
        std::vector<std::byte> bytes;
        for (const int64_t row : common ? rows.first(1) : rows) {
            const std::byte* first = data + (common ? 0 : static_cast<uint64_t>(row) * row_bytes);
            bytes.insert(bytes.end(), first, first + row_bytes);
        }
        BufferPtr buffer = backend_.allocate(bytes.size());
        backend_.upload(buffer, 0, bytes);
        return {std::move(buffer), 0};
    };
    Weight some;
    some.format = whole.format;
    some.rows = static_cast<int64_t>(rows.size());
    some.columns = whole.columns;
    some.data = gather(whole.data, whole.format.data_row_bytes(whole.columns), false);
    some.scales = gather(whole.scales, whole.format.scale_row_bytes(whole.columns), common_scales);
    some.zero_points = gather(whole.zero_points, whole.format.zero_point_row_bytes(whole.columns), common_scales);
    return some;
}

template <typename Value>
Tensor Trunk::upload(DType dtype, const std::vector<Value>& values, int64_t columns) {
    const auto bytes = std::as_bytes(std::span(values));
    BufferPtr buffer = backend_.allocate(bytes.size());
    backend_.upload(buffer, 0, bytes);
    return make_tensor(std::move(buffer), dtype, static_cast<int64_t>(values.size()) / columns, columns);
}

template Tensor Trunk::upload(DType, const std::vector<float>&, int64_t);
template Tensor Trunk::upload(DType, const std::vector<int32_t>&, int64_t);

Tensor Trunk::vector(int layer, Role role) {
    const std::vector<float> values = checkpoint_.vector(layer, role);
    return upload(values, static_cast<int64_t>(values.size()));
}

Tensor Trunk::table(int layer, Role role, int64_t rows) {
    const std::vector<float> values = checkpoint_.vector(layer, role);
    return upload(values, static_cast<int64_t>(values.size()) / rows);
}

}  // namespace sluice
