#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/float_types.h"

namespace sluice {

// E2M1 nibbles, low nibble first, that share one factor: what mxfp4 and nvfp4 have in common. `count` is even.
inline void decode_e2m1_group(const std::byte* data, int64_t count, float scale, float* out) {
    for (int64_t i = 0; i < count; i += 2) {
        const auto pair = static_cast<uint8_t>(data[i / 2]);
        out[i] = e2m1_to_float(pair & 0xf) * scale;
        out[i + 1] = e2m1_to_float(pair >> 4) * scale;
    }
}

// With a factor of zero everything is encoded as zero.
inline void encode_e2m1_group(const float* values, int64_t count, float scale, std::byte* data) {
    for (int64_t i = 0; i < count; i += 2) {
        const int low = scale > 0.0f ? float_to_e2m1(values[i] / scale) : 0;
        const int high = scale > 0.0f ? float_to_e2m1(values[i + 1] / scale) : 0;
        data[i / 2] = static_cast<std::byte>(low | high << 4);
    }
}

}  // namespace sluice
