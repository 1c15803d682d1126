#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace sluice {

// What a processor may have beside the least of its kind, as far as the kernels use it. A set of instructions is a name
// for some of them.
enum class Feature : uint8_t {
    kFma,
    kF16c,
    kBmi2,
    kAvx2,
    kAvxVnni,
    kAvx512f,
    kAvx512Bw,
    kAvx512Dq,
    kAvx512Vl,
    kAvx512Vnni,
    kAvx512Vbmi,
    kAvx512Bf16,
    kAmxInt8,  // where the system lets this process use it
    kAmxBf16,
    kNeonDot,
};

// A bit for each.
constexpr uint32_t feature_bits(std::initializer_list<Feature> features) {
    uint32_t bits = 0;
    for (const Feature feature : features) bits |= 1u << static_cast<unsigned>(feature);
    return bits;
}

// Those of this processor, found out once.
uint32_t processor_features();

inline bool has_features(uint32_t wanted) {
    return (processor_features() & wanted) == wanted;
}

// For people: "AVX2", "AVX-512 VNNI".
std::vector<std::string_view> processor_feature_names();

}  // namespace sluice
