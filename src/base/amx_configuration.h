#pragma once

#include <cstdint>

namespace sluice {

// The operand of LDTILECFG: all eight tile registers whole, sixteen rows of 64 bytes.
struct alignas(64) AmxConfiguration {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(AmxConfiguration) == 64);

inline constexpr AmxConfiguration kAmxConfiguration{};

}  // namespace sluice
