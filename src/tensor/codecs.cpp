#include "tensor/codecs.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace sluice {

namespace {

constexpr std::array kCodecs = {
    &kFloatCodec,  &kAffineCodec,     &kFp8BlockCodec,   &kMxfp4Codec,
    &kMxfp8Codec,  &kNvfp4Codec,      &kQ8_0Codec,       &kQ4_0Codec,
    &kQ4_1Codec,   &kQ5_0Codec,       &kQ5_1Codec,       &kQ2_KCodec,
    &kQ3_KCodec,   &kQ4_KCodec,       &kQ5_KCodec,       &kQ6_KCodec,
    &kIq4NlCodec,  &kIq4XsCodec,      &kIq3XxsCodec,     &kIq3SCodec,
    &kIq2XxsCodec, &kIq2XsCodec,      &kIq2SCodec,       &kIq1SCodec,
    &kIq1MCodec,   &kMxfp4BlockCodec, &kNvfp4BlockCodec, &kScaledNvfp4BlockCodec,
    &kTq1_0Codec,  &kTq2_0Codec,      &kQ1_0Codec,       &kQ2_0Codec,
};

// "2, 3 or 4".
template <typename Values, typename Name>
std::string one_of(const Values& values, Name&& name) {
    std::string text;
    for (size_t i = 0; i < values.size(); ++i) {
        const std::string_view separator = i == 0 ? "" : i + 1 == values.size() ? " or " : ", ";
        text += fmt::format("{}{}", separator, name(values[i]));
    }
    return text;
}

}  // namespace

bool FormatParameter::allows(int number) const {
    if (choices.empty()) return number >= 1 && number <= kLargest;
    return std::ranges::find(choices, number) != choices.end();
}

std::string Codec::choices() const {
    std::string text;
    for (const FormatParameter& parameter : parameters) {
        const std::string numbers = parameter.choices.empty()
                                        ? fmt::format("1 to {}", FormatParameter::kLargest)
                                        : one_of(parameter.choices, [](int number) { return number; });
        text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", parameter.name, numbers);
    }
    if (!dtypes.empty()) text += fmt::format("{}{}", text.empty() ? "" : ", ", one_of(dtypes, dtype_name));
    return fmt::format("{} has {}", name, text.empty() ? "one format" : text);
}

std::span<const Codec* const> codecs() {
    return kCodecs;
}

const Codec* find_codec(std::string_view name) {
    const auto found = std::ranges::find(kCodecs, name, &Codec::name);
    return found == kCodecs.end() ? nullptr : *found;
}

}  // namespace sluice
