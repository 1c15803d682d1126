#include "tensor/kv_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/memory.h"
#include "tensor/float_types.h"

namespace sluice {

namespace {

constexpr float kLargestByte = 127.0f;

void encode_int8_row(const float* values, int64_t columns, std::byte* row) {
    float largest = 0.0f;
    bool finite = true;
    for (int64_t i = 0; i < columns; ++i) {
        finite = finite && std::isfinite(values[i]);
        largest = std::max(largest, std::abs(values[i]));
    }
    // A row that is not finite decodes to NaN, so that the fault stays visible.
    const float scale = finite ? largest / kLargestByte : std::numeric_limits<float>::quiet_NaN();
    const bool representable = scale >= std::numeric_limits<float>::min();
    const float inverse = representable ? 1.0f / scale : 0.0f;
    store_unaligned(row, finite && !representable ? 0.0f : scale);
    std::byte* bytes = row + sizeof(float);
    for (int64_t i = 0; i < columns; ++i) {
        const float level = representable ? std::nearbyint(values[i] * inverse) : 0.0f;
        bytes[i] = static_cast<std::byte>(static_cast<int8_t>(std::clamp(level, -kLargestByte, kLargestByte)));
    }
    const auto used = static_cast<size_t>(columns);
    std::memset(bytes + used, 0, round_up(used, 4) - used);
}

}  // namespace

std::string_view kv_format_name(KvFormat format) {
    switch (format) {
        case KvFormat::kF32:
            return "f32";
        case KvFormat::kBF16:
            return "bf16";
        case KvFormat::kInt8:
            return "int8";
    }
    return "unknown";
}

size_t kv_row_bytes(KvFormat format, int64_t columns) {
    const auto count = static_cast<size_t>(columns);
    switch (format) {
        case KvFormat::kF32:
            return count * sizeof(float);
        case KvFormat::kBF16:
            return count * sizeof(uint16_t);
        case KvFormat::kInt8:
            return sizeof(float) + round_up(count, 4);
    }
    return 0;
}

void encode_kv_row(KvFormat format, const float* values, int64_t columns, std::byte* row) {
    switch (format) {
        case KvFormat::kF32:
            std::memcpy(row, values, kv_row_bytes(format, columns));
            return;
        case KvFormat::kBF16:
            for (int64_t i = 0; i < columns; ++i) store_unaligned(row + 2 * i, float_to_bf16(values[i]));
            return;
        case KvFormat::kInt8:
            encode_int8_row(values, columns, row);
            return;
    }
}

void decode_kv_row(KvFormat format, const std::byte* row, int64_t columns, float* values) {
    switch (format) {
        case KvFormat::kF32:
            std::memcpy(values, row, kv_row_bytes(format, columns));
            return;
        case KvFormat::kBF16:
            for (int64_t i = 0; i < columns; ++i) {
                values[i] = bf16_to_float(load_unaligned<uint16_t>(row + 2 * i));
            }
            return;
        case KvFormat::kInt8: {
            const float scale = load_unaligned<float>(row);
            for (int64_t i = 0; i < columns; ++i) {
                values[i] = static_cast<float>(static_cast<int8_t>(row[4 + i])) * scale;
            }
            return;
        }
    }
}

}  // namespace sluice
