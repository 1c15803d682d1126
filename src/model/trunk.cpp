#include "model/trunk.h"

namespace sluice {

WeightPart Trunk::part(const ByteRange& range) {
    if (range.bytes == 0) return {};
    return {backend_.adopt(checkpoint_.mapped(range), checkpoint_.mapping(range.file)), 0};
}

Weight Trunk::weight(int layer, Role role) {
    return checkpoint_.weight(layer, role).placed([&](const ByteRange& range) { return part(range); });
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
