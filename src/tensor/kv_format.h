#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sluice {

// How a row of the KV cache (one token, one head, or one latent) is stored.
enum class KvFormat : uint8_t {
    kF32,
    kBF16,
    kInt8,  // one F32 scale, then `columns` signed bytes, padded to 4: value = byte * scale, scale = max|x| / 127
};

std::string_view kv_format_name(KvFormat format);  // "f32", "bf16", "int8"
size_t kv_row_bytes(KvFormat format, int64_t columns);
void encode_kv_row(KvFormat format, const float* values, int64_t columns, std::byte* row);
void decode_kv_row(KvFormat format, const std::byte* row, int64_t columns, float* values);

}  // namespace sluice
