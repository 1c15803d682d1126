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

// GGUF's blocks, each with all that its columns need.
extern const Codec kQ8_0Codec;  // 32 signed bytes and their F16 scale
extern const Codec kQ4_0Codec;  // 32 codes of 4 or 5 bits, and for _1 a minimum
extern const Codec kQ4_1Codec;
extern const Codec kQ5_0Codec;
extern const Codec kQ5_1Codec;
extern const Codec kQ2_KCodec;  // 256 codes of 2 to 6 bits, whole factors per 16 or 32
extern const Codec kQ3_KCodec;
extern const Codec kQ4_KCodec;
extern const Codec kQ5_KCodec;
extern const Codec kQ6_KCodec;
extern const Codec kIq4NlCodec;  // nibbles that choose whole numbers
extern const Codec kIq4XsCodec;
extern const Codec kIq3XxsCodec;  // codes that choose several magnitudes together
extern const Codec kIq3SCodec;
extern const Codec kIq2XxsCodec;
extern const Codec kIq2XsCodec;
extern const Codec kIq2SCodec;
extern const Codec kIq1SCodec;
extern const Codec kIq1MCodec;
extern const Codec kMxfp4BlockCodec;        // 32 E2M1 and an E8M0 scale
extern const Codec kNvfp4BlockCodec;        // 64 E2M1, an E4M3 scale per 16
extern const Codec kScaledNvfp4BlockCodec;  // the same; `scales` is one F32 for the whole matrix
extern const Codec kTq1_0Codec;             // 256 of -1, 0 and 1
extern const Codec kTq2_0Codec;
extern const Codec kQ1_0Codec;  // 128 signs, 64 codes of two bits
extern const Codec kQ2_0Codec;

std::span<const Codec* const> codecs();
// Null where no codec has this name.
const Codec* find_codec(std::string_view name);

}  // namespace sluice
