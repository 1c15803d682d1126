#pragma once

// What can be chosen, and how each choice is written. A value is added here, in its enum and in the names below it.

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice {

// A choice as text. Spellings of earlier releases are taken but not listed.
struct ChoiceName {
    std::string_view name;
    int value = 0;
    bool listed = true;
    bool numbered = false;  // a number may follow, as in cuda:1
};

template <typename Enum>
constexpr ChoiceName named(std::string_view name, Enum value, bool listed = true) {
    return {name, static_cast<int>(value), listed};
}

// The first name of a value; empty for one that has none.
constexpr std::string_view choice_name(std::span<const ChoiceName> names, int value) {
    for (const ChoiceName& each : names) {
        if (each.value == value) return each.name;
    }
    return {};
}

// How experts are read.
enum class ReaderKind { kAuto, kPread, kUring, kMmap };
inline constexpr ChoiceName kReaderNames[] = {named("auto", ReaderKind::kAuto), named("pread", ReaderKind::kPread),
                                              named("uring", ReaderKind::kUring), named("mmap", ReaderKind::kMmap)};

// For what can be done always, never, or where it pays.
enum class When { kAuto, kOn, kOff };
inline constexpr ChoiceName kWhenNames[] = {named("auto", When::kAuto), named("on", When::kOn),
                                            named("off", When::kOff)};
// Who computes experts that the host's memory holds beside a card.
enum class ExpertsOn { kAuto, kCard, kCpu };
inline constexpr ChoiceName kExpertsOnNames[] = {named("auto", ExpertsOn::kAuto), named("card", ExpertsOn::kCard),
                                                 named("cpu", ExpertsOn::kCpu)};
inline constexpr ChoiceName kOnOffNames[] = {{"on", 1}, {"off", 0}};

// How a row of the KV cache (one token, one head, or one latent) is stored.
enum class KvFormat : uint8_t {
    kF32,
    kBF16,
    kInt8,  // one F32 scale, then `columns` signed bytes, padded to 4: value = byte * scale, scale = max|x| / 127
};
inline constexpr ChoiceName kKvFormatNames[] = {named("f32", KvFormat::kF32), named("bf16", KvFormat::kBF16),
                                                named("int8", KvFormat::kInt8)};

// A name for the processor features that a set of kernels needs.
enum class InstructionSet {
    kAuto,  // the best that this processor has
    kScalar,
    kAvx2,
    kAvxVnni,
    kAvx512,
    kAvx512WithVnni,
    kAvx512WithVbmi,  // and VNNI
    kAmx,             // and all of AVX-512 above
    kNeon,
};
inline constexpr ChoiceName kInstructionSetNames[] = {
    named("auto", InstructionSet::kAuto),
    named("scalar", InstructionSet::kScalar),
    named("avx2", InstructionSet::kAvx2),
    named("avxvnni", InstructionSet::kAvxVnni),
    named("avx512", InstructionSet::kAvx512),
    named("avx512+vnni", InstructionSet::kAvx512WithVnni),
    named("avx512+vnni+vbmi", InstructionSet::kAvx512WithVbmi),
    named("amx", InstructionSet::kAmx),
    named("neon", InstructionSet::kNeon),
    named("avx512vnni-no-vbmi", InstructionSet::kAvx512WithVnni, false),
    named("avx512vnni", InstructionSet::kAvx512WithVbmi, false)};

// Devices. Whether there is a card is known when an engine opens; auto takes one where there is.
inline constexpr ChoiceName kDeviceNames[] = {{"cpu"}, {"reference"}, {"cuda", 0, true, true}, {"auto"}};

inline constexpr ChoiceName kPackQuantizations[] = {{"none"}, {"affine4"}, {"affine8"}};
inline constexpr ChoiceName kGroupSizes[] = {{"32", 32}, {"64", 64}, {"128", 128}};
inline constexpr ChoiceName kSynthQuantizations[] = {{"affine4"}, {"affine8"}, {"bf16"}, {"fp8"}};

}  // namespace sluice
