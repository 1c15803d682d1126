#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sluice/options.h"

namespace sluice {

// A sampling option that is out of range, and the words for it.
struct RangeFault {
    std::string_view field;  // of SamplingOptions, and of generation_config.json
    std::string problem;     // "-1 is not a whole number from 0 on"
};
std::optional<RangeFault> find_range_fault(const SamplingOptions& options);

}  // namespace sluice
