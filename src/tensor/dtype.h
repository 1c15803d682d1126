#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

// Element types met in safetensors files.
enum class DType : uint8_t {
    kF64,
    kF32,
    kF16,
    kBF16,
    kF8E4M3,
    kF8E5M2,
    kF8E8M0,
    kI64,
    kI32,
    kI16,
    kI8,
    kU64,
    kU32,
    kU16,
    kU8,
    kBool
};

size_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);                     // as safetensors spells it: "BF16"
std::optional<DType> dtype_from_name(std::string_view name);  // nothing for a name that is not known

}  // namespace sluice
