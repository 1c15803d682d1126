#include "backend/host_tensors.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace sluice {

namespace {

template <typename Element>
Element* elements(const HostBuffer& buffer, const Tensor& tensor) {
    std::byte* first = buffer.data() + tensor.offset;
    if (reinterpret_cast<uintptr_t>(first) % alignof(Element) != 0) {
        fail(ErrorCode::kUsage,
             "a tensor of adopted memory starts at an address that is no multiple of {}: upload() it "
             "to a buffer made by allocate()",
             alignof(Element));
    }
    return reinterpret_cast<Element*>(first);
}

}  // namespace

const float* floats(const Tensor& tensor) {
    return elements<float>(host_buffer(tensor.buffer), tensor);
}
const int32_t* ints(const Tensor& tensor) {
    return elements<int32_t>(host_buffer(tensor.buffer), tensor);
}
float* writable_floats(const Tensor& tensor) {
    return elements<float>(writable_host_buffer(tensor.buffer), tensor);
}
int32_t* writable_ints(const Tensor& tensor) {
    return elements<int32_t>(writable_host_buffer(tensor.buffer), tensor);
}

WeightView view(const Weight& weight) {
    return weight.placed(
        [](const WeightPart& part) -> const std::byte* { return host_bytes(part.buffer).data() + part.offset; });
}

int32_t argmax(std::span<const float> row) {
    if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); })) return -1;
    return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

}  // namespace sluice
