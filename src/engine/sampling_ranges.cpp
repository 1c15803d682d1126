#include "engine/sampling_ranges.h"

#include <fmt/core.h>

#include <cmath>

namespace sluice {

std::optional<RangeFault> find_range_fault(const SamplingOptions& options) {
    struct Range {
        const char* field;
        double value, low, high;
        bool low_itself;
        const char* words;
    };
    const auto top_k = static_cast<double>(options.top_k);
    const Range ranges[] = {
        {"temperature", options.temperature, 0, 1e6, true, "0 (greedy) to 1000000"},
        {"top_k", top_k, 0, HUGE_VAL, true, "0 (off) or more"},
        {"top_p", options.top_p, 0, 1, false, "above 0, at most 1 (off)"},
        {"min_p", options.min_p, 0, 1, true, "0 (off) to 1"},
        {"repetition_penalty", options.repetition_penalty, 0.01, 100, true, "0.01 to 100; 1 is off"},
        {"presence_penalty", options.presence_penalty, -2, 2, true, "-2 to 2; 0 is off"},
        {"frequency_penalty", options.frequency_penalty, -2, 2, true, "-2 to 2; 0 is off"}};
    for (const Range& range : ranges) {
        const bool low_enough = range.value <= range.high;
        if (low_enough && (range.low_itself ? range.value >= range.low : range.value > range.low)) continue;
        return RangeFault{range.field, fmt::format("{} is out of range: {}", range.value, range.words)};
    }
    for (const auto& [id, bias] : options.logit_bias) {
        if (bias >= -100 && bias <= 100) continue;
        return RangeFault{"logit_bias", fmt::format("{} of token {} is out of range: -100 to 100", bias, id)};
    }
    return std::nullopt;
}

}  // namespace sluice
