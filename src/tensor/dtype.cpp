#include "tensor/dtype.h"

#include <array>

namespace sluice {

namespace {

struct DTypeInfo {
    std::string_view name;
    size_t bytes;
};

// In the order of the enumeration.
constexpr std::array<DTypeInfo, 16> kDTypes = {{{"F64", 8},
                                                {"F32", 4},
                                                {"F16", 2},
                                                {"BF16", 2},
                                                {"F8_E4M3", 1},
                                                {"F8_E5M2", 1},
                                                {"F8_E8M0", 1},
                                                {"I64", 8},
                                                {"I32", 4},
                                                {"I16", 2},
                                                {"I8", 1},
                                                {"U64", 8},
                                                {"U32", 4},
                                                {"U16", 2},
                                                {"U8", 1},
                                                {"BOOL", 1}}};
static_assert(kDTypes.size() == static_cast<size_t>(DType::kBool) + 1);

}  // namespace

size_t dtype_bytes(DType dtype) {
    return kDTypes[static_cast<size_t>(dtype)].bytes;
}

std::string_view dtype_name(DType dtype) {
    return kDTypes[static_cast<size_t>(dtype)].name;
}

std::optional<DType> dtype_from_name(std::string_view name) {
    for (size_t i = 0; i < kDTypes.size(); ++i) {
        if (kDTypes[i].name == name) return static_cast<DType>(i);
    }
    return std::nullopt;
}

}  // namespace sluice
