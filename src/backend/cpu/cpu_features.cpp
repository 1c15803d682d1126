#include "backend/cpu/cpu_features.h"

#include <string_view>

#include "base/error.h"
#include "base/processor_features.h"

namespace sluice {

namespace {

struct Candidate {
    InstructionSet set;
    std::string_view name;
    uint32_t features;  // that it needs
    const KernelTable& (*kernels)();
};

#if defined(__x86_64__)
// AVX-512 BF16 came after VNNI and is not everywhere where VNNI is. BF16 products of weights need VBMI.
#if defined(SLUICE_ALL_CPU_KERNELS)
const KernelTable& avx512vnni_with_bf16_kernels() {
    static const KernelTable table = [] {
        KernelTable kernels = avx512vnni_kernels();
        if (has_features(feature_bits({Feature::kAvx512Bf16}))) kernels.rounded_attention = avx512bf16_attention();
        return kernels;
    }();
    return table;
}
#endif

const KernelTable& avx512vbmi_with_bf16_kernels() {
    static const KernelTable table = [] {
        KernelTable kernels = avx512vbmi_kernels();
        if (has_features(feature_bits({Feature::kAvx512Bf16}))) {
            kernels.rounded_attention = avx512bf16_attention();
            kernels.bf16 = &avx512bf16_linear();
        }
        return kernels;
    }();
    return table;
}

const KernelTable& avx512vbmi_with_amx_kernels() {
    static const KernelTable table = [] {
        KernelTable kernels = avx512vbmi_with_bf16_kernels();
        kernels.name = "AVX-512 VNNI, AMX";
        kernels.amx = &amx_linear();
        kernels.amx_blocks = &amx_blocks_linear();
        if (kernels.bf16 != nullptr && has_features(feature_bits({Feature::kAmxBf16})))
            kernels.bf16 = &amxbf16_linear();
        return kernels;
    }();
    return table;
}
#endif

constexpr uint32_t kAvx2 = feature_bits({Feature::kAvx2, Feature::kFma, Feature::kF16c, Feature::kBmi2});
constexpr uint32_t kAvx512 =
    kAvx2 | feature_bits({Feature::kAvx512f, Feature::kAvx512Bw, Feature::kAvx512Dq, Feature::kAvx512Vl});
constexpr uint32_t kVnni = kAvx512 | feature_bits({Feature::kAvx512Vnni});
constexpr uint32_t kVbmi = kVnni | feature_bits({Feature::kAvx512Vbmi});

// Best first.
constexpr Candidate kCandidates[] = {
#if defined(__x86_64__)
    {InstructionSet::kAmx, "AMX", kVbmi | feature_bits({Feature::kAmxInt8}), avx512vbmi_with_amx_kernels},
    {InstructionSet::kAvx512WithVbmi, "AVX-512 VNNI with VBMI", kVbmi, avx512vbmi_with_bf16_kernels},
#if defined(SLUICE_ALL_CPU_KERNELS)
    {InstructionSet::kAvx512WithVnni, "AVX-512 VNNI", kVnni, avx512vnni_with_bf16_kernels},
    {InstructionSet::kAvx512, "AVX-512", kAvx512, avx512_kernels},
    {InstructionSet::kAvxVnni, "AVX-VNNI", kAvx2 | feature_bits({Feature::kAvxVnni}), avxvnni_kernels},
#endif
    {InstructionSet::kAvx2, "AVX2", kAvx2, avx2_kernels},
#endif
#if defined(__aarch64__)
    {InstructionSet::kNeon, "NEON", feature_bits({Feature::kNeonDot}), neon_kernels},
#endif
    {InstructionSet::kScalar, "scalar", 0, scalar_kernels},
};

}  // namespace

bool processor_has(InstructionSet set) {
    if (set == InstructionSet::kAuto) return true;
    for (const Candidate& candidate : kCandidates) {
        if (candidate.set == set) return has_features(candidate.features);
    }
    return false;
}

const KernelTable& select_kernels(InstructionSet set) {
    for (const Candidate& candidate : kCandidates) {
        const bool wanted = set == InstructionSet::kAuto || set == candidate.set;
        if (wanted && has_features(candidate.features)) return candidate.kernels();
    }
    std::string_view name = "this instruction set";
    for (const Candidate& candidate : kCandidates) {
        if (candidate.set == set) name = candidate.name;
    }
    fail(ErrorCode::kUnsupported, "this processor has no {}: choose auto, or scalar, which always works", name);
}

}  // namespace sluice
