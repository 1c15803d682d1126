#include "backend/cpu/cpu_features.h"

#include <string_view>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "base/error.h"
#include "base/machine_speed.h"

namespace sluice {

namespace {

struct Candidate {
    InstructionSet set;
    std::string_view name;
    const KernelTable& (*kernels)();
};

#if defined(__x86_64__)
// AVX-512 BF16 came after VNNI and is not everywhere where VNNI is. BF16 products of weights need VBMI.
const KernelTable& avx512vnni_no_vbmi_or_bf16_kernels() {
    static const KernelTable table = [] {
        KernelTable kernels = avx512vnni_no_vbmi_kernels();
        if (__builtin_cpu_supports("avx512bf16")) kernels.rounded_attention = avx512bf16_attention();
        return kernels;
    }();
    return table;
}

const KernelTable& avx512vnni_or_bf16_kernels() {
    static const KernelTable table = [] {
        KernelTable kernels = avx512vnni_kernels();
        if (__builtin_cpu_supports("avx512bf16")) {
            kernels.rounded_attention = avx512bf16_attention();
            kernels.bf16 = &avx512bf16_linear();
        }
        return kernels;
    }();
    return table;
}

const KernelTable& avx512vnni_and_amx_kernels() {
    static const KernelTable table = [] {
        KernelTable kernels = avx512vnni_or_bf16_kernels();
        kernels.name = "AVX-512 VNNI, AMX";
        kernels.amx = &amx_linear();
        if (kernels.bf16 != nullptr && processor_has_amx_bf16()) kernels.bf16 = &amxbf16_linear();
        return kernels;
    }();
    return table;
}
#endif

// Best first.
constexpr Candidate kCandidates[] = {
#if defined(__x86_64__)
    {InstructionSet::kAmx, "AMX", avx512vnni_and_amx_kernels},
    {InstructionSet::kAvx512Vnni, "AVX-512 VNNI with VBMI", avx512vnni_or_bf16_kernels},
    {InstructionSet::kAvx512VnniNoVbmi, "AVX-512 VNNI", avx512vnni_no_vbmi_or_bf16_kernels},
    {InstructionSet::kAvx512, "AVX-512", avx512_kernels},
    {InstructionSet::kAvxVnni, "AVX-VNNI", avxvnni_kernels},
    {InstructionSet::kAvx2, "AVX2", avx2_kernels},
#endif
#if defined(__aarch64__)
    {InstructionSet::kNeon, "NEON", neon_kernels},
#endif
    {InstructionSet::kScalar, "scalar", scalar_kernels},
};

}  // namespace

bool processor_has(InstructionSet set) {
    if (set == InstructionSet::kAuto || set == InstructionSet::kScalar) return true;
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const bool avx512vnni_no_vbmi = avx512 && __builtin_cpu_supports("avx512vnni");
    const bool avx512vnni = avx512vnni_no_vbmi && __builtin_cpu_supports("avx512vbmi");
    switch (set) {
        case InstructionSet::kAvx2:
            return avx2;
        case InstructionSet::kAvxVnni:
            return processor_has_avx_vnni() && avx2;
        case InstructionSet::kAvx512:
            return avx512;
        case InstructionSet::kAvx512VnniNoVbmi:
            return avx512vnni_no_vbmi;
        case InstructionSet::kAvx512Vnni:
            return avx512vnni;
        case InstructionSet::kAmx:
            return avx512vnni && processor_has_amx();
        default:
            return false;
    }
#elif defined(__aarch64__)
    return set == InstructionSet::kNeon && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return false;
#endif
}

const KernelTable& select_kernels(InstructionSet set) {
    for (const Candidate& candidate : kCandidates) {
        const bool wanted = set == InstructionSet::kAuto || set == candidate.set;
        if (wanted && processor_has(candidate.set)) return candidate.kernels();
    }
    std::string_view name = "this instruction set";
    for (const Candidate& candidate : kCandidates) {
        if (candidate.set == set) name = candidate.name;
    }
    fail(ErrorCode::kUnsupported, "this processor has no {}: choose auto, or scalar, which always works", name);
}

}  // namespace sluice
