#pragma once

// The table of weight formats: one row and one source file each.

#include <optional>
#include <span>
#include <string_view>

#include "tensor/codec.h"

namespace sluice {

extern const Codec kFloatCodec;     // F32, F16 or BF16, row-major
extern const Codec kAffineCodec;    // MLX: codes of 2 to 8 bits, a scale and a bias per group
extern const Codec kFp8BlockCodec;  // F8_E4M3, a factor per block of rows and columns
extern const Codec kMxfp4Codec;     // E2M1, an E8M0 scale per 32
extern const Codec kMxfp8Codec;     // E4M3, an E8M0 scale per 32
extern const Codec kNvfp4Codec;     // E2M1, an E4M3 scale per 16
extern const Codec kQ8_0Codec;      // GGUF: blocks of 32 signed bytes and their F16 scale

std::span<const Codec* const> codecs();
// Null where no codec has this name.
const Codec* find_codec(std::string_view name);

}  // namespace sluice
