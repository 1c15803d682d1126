#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "backend/tensor.h"

namespace sluice {

class OperationCheck;

// What an operation does with a field that names memory. Tensors that it writes share no element with another field,
// except that one may be exactly a field which is kReadInPlace.
enum class Access : uint8_t { kRead, kReadInPlace, kWritten, kUpdated };

inline bool writes(Access access) {
    return access == Access::kWritten || access == Access::kUpdated;
}

// Operations and the structs in their lists name all of their members once, in
//     static void fields(auto& op, auto&& field)
// which calls field("x", op.x, Access::kRead) for memory and field("scale", op.scale) for everything else. What looks
// at every field of any operation (checks, printing, replacing buffers) follows from it.
template <typename Struct>
concept HasFields = requires(Struct& value) {
    Struct::fields(value, [](const char*, auto&, auto...) {});
};

template <typename Value>
inline constexpr bool is_list = false;
template <typename Item>
inline constexpr bool is_list<std::vector<Item>> = true;

// visit(buffer) for every buffer that the value names, missing ones included.
template <typename Value, typename Visit>
void for_each_buffer(Value& value, Visit&& visit) {
    using Plain = std::remove_const_t<Value>;
    if constexpr (std::is_same_v<Plain, BufferPtr>) {
        visit(value);
    } else if constexpr (std::is_same_v<Plain, Tensor>) {
        visit(value.buffer);
    } else if constexpr (std::is_same_v<Plain, WeightPart>) {
        visit(value.buffer);
    } else if constexpr (std::is_same_v<Plain, Weight>) {
        visit(value.data.buffer);
        visit(value.scales.buffer);
        visit(value.zero_points.buffer);
    } else if constexpr (is_list<Plain>) {
        for (auto& item : value) for_each_buffer(item, visit);
    } else if constexpr (HasFields<Plain>) {
        Plain::fields(value, [&](const char*, auto& member, auto...) { for_each_buffer(member, visit); });
    }
}

}  // namespace sluice
