#pragma once

#include <cstdint>
#include <string_view>

#include "tensor/codec.h"

namespace sluice {

// How the numbers of a tensor are stored, by what GGUF calls it.
struct GgufTensorType {
    uint32_t number = 0;
    std::string_view name;
    DType dtype = DType::kU8;            // of plain numbers
    const Codec* codec = nullptr;        // null: plain numbers
    const Codec* with_factor = nullptr;  // where a factor of the whole matrix stands beside it; null: none may
};

// Throws kUnsupported for a type that is not read, naming it after `where`.
GgufTensorType gguf_tensor_type(uint32_t number, std::string_view where);

// The format that `general.file_type` names, for estimates alone: it may lie. F16 for a number that is not known.
WeightFormat gguf_file_type_format(int64_t number);

}  // namespace sluice
