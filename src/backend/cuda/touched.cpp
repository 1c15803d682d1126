#include "backend/cuda/touched.h"

#include <algorithm>
#include <type_traits>
#include <variant>

namespace sluice::cuda {

namespace {

// Columns of a matrix count as its rows: a tensor touches all from its first element to its last.
Touched touched_by(const Tensor& tensor, bool written) {
    const int64_t elements = tensor.rows == 0 ? 0 : (tensor.rows - 1) * tensor.row_stride + tensor.columns;
    const uint64_t bytes = static_cast<uint64_t>(elements) * dtype_bytes(tensor.dtype);
    return {tensor.buffer.get(), tensor.offset, tensor.offset + bytes, written};
}

template <typename Value>
void collect(const Value& value, Access access, std::vector<Touched>& touched) {
    if constexpr (std::is_same_v<Value, Tensor>) {
        if (value.buffer != nullptr) touched.push_back(touched_by(value, writes(access)));
    } else if constexpr (std::is_same_v<Value, BufferPtr>) {
        // A pool: caches and states, of which pages and slots say where.
        if (value != nullptr) touched.push_back({value.get(), 0, value->bytes(), true});
    } else if constexpr (std::is_same_v<Value, Weight> || std::is_same_v<Value, WeightPart>) {
        // Nobody writes weights.
    } else if constexpr (is_list<Value>) {
        for (const auto& item : value) collect(item, access, touched);
    } else if constexpr (HasFields<Value>) {
        Value::fields(value, [&](const char*, const auto& member, auto... of) {
            Access each = Access::kRead;
            ((each = of), ...);
            collect(member, each, touched);
        });
    }
}

}  // namespace

std::vector<Touched> touched_by(const OperationGroup& group) {
    std::vector<Touched> touched;
    for (const Operation& operation : group) {
        std::visit([&](const auto& op) { collect(op, Access::kRead, touched); }, operation);
    }
    return touched;
}

bool conflict(const std::vector<Touched>& a, const std::vector<Touched>& b) {
    return std::ranges::any_of(a, [&](const Touched& mine) {
        return std::ranges::any_of(b, [&](const Touched& other) { return mine.conflicts(other); });
    });
}

}  // namespace sluice::cuda
