#include "model/trunk.h"

#include "base/error.h"

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

Tensor Trunk::upload(const std::vector<float>& values, int64_t columns) {
    const auto bytes = std::as_bytes(std::span(values));
    BufferPtr buffer = backend_.allocate(bytes.size());
    backend_.upload(buffer, 0, bytes);
    return make_tensor(std::move(buffer), DType::kF32, static_cast<int64_t>(values.size()) / columns, columns);
}

Tensor Trunk::vector(int layer, Role role) {
    const std::vector<float> values = checkpoint_.vector(layer, role);
    return upload(values, static_cast<int64_t>(values.size()));
}

Tensor Trunk::table(int layer, Role role, int64_t rows) {
    const std::vector<float> values = checkpoint_.vector(layer, role);
    return upload(values, static_cast<int64_t>(values.size()) / rows);
}

}  // namespace sluice
