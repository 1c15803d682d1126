#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "sluice/choices.h"

namespace sluice {

std::string_view kv_format_name(KvFormat format);  // "f32", "bf16", "int8"
size_t kv_row_bytes(KvFormat format, int64_t columns);
void encode_kv_row(KvFormat format, const float* values, int64_t columns, std::byte* row);
void decode_kv_row(KvFormat format, const std::byte* row, int64_t columns, float* values);

}  // namespace sluice
