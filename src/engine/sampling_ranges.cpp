#include "engine/sampling_ranges.h"

#include <fmt/core.h>

#include <utility>

#include "sluice/option_table.h"

namespace sluice {

std::optional<RangeFault> find_range_fault(const SamplingOptions& options) {
    for (const Option<SamplingOptions>& option : kSamplingOptions) {
        std::string problem = range_problem(option, options);
        if (!problem.empty()) return RangeFault{option.name, std::move(problem)};
    }
    for (const auto& [id, bias] : options.logit_bias) {
        if (bias >= -100 && bias <= 100) continue;
        return RangeFault{"logit_bias", fmt::format("{} of token {} is out of range: -100 to 100", bias, id)};
    }
    return std::nullopt;
}

}  // namespace sluice
