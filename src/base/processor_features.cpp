#include "base/processor_features.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace sluice {

namespace {

#if defined(__x86_64__)

// Asked of the processor itself, because not every compiler knows the names.
struct Leaf {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf leaf_one() {
    Leaf leaf;
    if (__get_cpuid(1, &leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx) == 0) return {};
    return leaf;
}

Leaf leaf_seven(unsigned part) {
    Leaf leaf;
    if (__get_cpuid_count(7, part, &leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx) == 0) return {};
    return leaf;
}

// Linux lets a process use AMX only if it asks, since the registers make every thread's saved state larger.
bool amx_is_granted() {
#if defined(__linux__)
    constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

uint32_t detect() {
    uint32_t bits = 0;
    const auto add = [&bits](Feature feature, bool has) {
        if (has) bits |= feature_bits({feature});
    };
    // These also say whether the system saves the registers.
    add(Feature::kFma, __builtin_cpu_supports("fma"));
    constexpr unsigned kF16cBit = 1u << 29;  // of leaf 1, ECX
    add(Feature::kF16c, __builtin_cpu_supports("avx") && (leaf_one().ecx & kF16cBit) != 0);
    add(Feature::kBmi2, __builtin_cpu_supports("bmi2"));
    add(Feature::kAvx2, __builtin_cpu_supports("avx2"));
    add(Feature::kAvx512f, __builtin_cpu_supports("avx512f"));
    add(Feature::kAvx512Bw, __builtin_cpu_supports("avx512bw"));
    add(Feature::kAvx512Dq, __builtin_cpu_supports("avx512dq"));
    add(Feature::kAvx512Vl, __builtin_cpu_supports("avx512vl"));
    add(Feature::kAvx512Vnni, __builtin_cpu_supports("avx512vnni"));
    add(Feature::kAvx512Vbmi, __builtin_cpu_supports("avx512vbmi"));
    add(Feature::kAvx512Bf16, __builtin_cpu_supports("avx512bf16"));
    constexpr unsigned kAvxVnniBit = 1u << 4;               // of subleaf 1, EAX
    constexpr unsigned kTileAndInt8 = 1u << 24 | 1u << 25;  // of subleaf 0, EDX
    constexpr unsigned kAmxBf16Bit = 1u << 22;              // likewise
    const Leaf leaf = leaf_seven(0);
    add(Feature::kAvxVnni, __builtin_cpu_supports("avx2") && (leaf_seven(1).eax & kAvxVnniBit) != 0);
    const bool amx = (leaf.edx & kTileAndInt8) == kTileAndInt8 && amx_is_granted();
    add(Feature::kAmxInt8, amx);
    add(Feature::kAmxBf16, amx && (leaf.edx & kAmxBf16Bit) != 0);
    return bits;
}

#elif defined(__aarch64__)

uint32_t detect() {
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? feature_bits({Feature::kNeonDot}) : 0;
}

#else

uint32_t detect() {
    return 0;
}

#endif

struct FeatureName {
    Feature feature;
    std::string_view name;
};
constexpr FeatureName kNames[] = {
    {Feature::kAvx2, "AVX2"},
    {Feature::kFma, "FMA"},
    {Feature::kAvxVnni, "AVX-VNNI"},
    {Feature::kAvx512f, "AVX-512"},
    {Feature::kAvx512Vnni, "AVX-512 VNNI"},
    {Feature::kAmxInt8, "AMX"},
    {Feature::kNeonDot, "NEON"},
};

}  // namespace

uint32_t processor_features() {
    static const uint32_t features = detect();
    return features;
}

std::vector<std::string_view> processor_feature_names() {
    std::vector<std::string_view> names;
    for (const FeatureName& each : kNames) {
        if (has_features(feature_bits({each.feature}))) names.push_back(each.name);
    }
    return names;
}

}  // namespace sluice
