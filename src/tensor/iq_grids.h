#pragma once

// The tables behind GGUF's I-quants: which magnitudes eight or four columns can have together. Column j is byte j.

#include <array>
#include <cstdint>

namespace sluice {

inline constexpr std::array<int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                      1,    13,   25,  38,  53,  69,  89,  113};

extern const std::array<uint64_t, 256> kIq2XxsGrid;  // of 8, 25 and 43, as all of IQ2
extern const std::array<uint64_t, 512> kIq2XsGrid;
extern const std::array<uint64_t, 1024> kIq2SGrid;
extern const std::array<uint32_t, 256> kIq3XxsGrid;  // of 4, 12, 20, 28, 36, 44, 52 and 62
extern const std::array<uint32_t, 512> kIq3SGrid;    // of odd numbers up to 15
extern const std::array<uint64_t, 2048> kIq1Grid;    // of -1, 0 and 1

// Seven signs and the eighth that makes the number of minus signs even; a bit that is set is a minus.
constexpr std::array<uint8_t, 128> make_even_signs() {
    std::array<uint8_t, 128> signs{};
    for (unsigned code = 0; code < 128; ++code) {
        unsigned parity = code;
        for (const int shift : {4, 2, 1}) parity ^= parity >> shift;
        signs[code] = static_cast<uint8_t>(code | (parity & 1) << 7);
    }
    return signs;
}
inline constexpr std::array<uint8_t, 128> kEvenSigns = make_even_signs();

}  // namespace sluice
