#pragma once

#include <optional>
#include <string>

#include "sluice/options.h"

namespace sluice {

// A sampling option that is out of range, and the words for it.
struct RangeFault {
    const char* field;    // of SamplingOptions, and of generation_config.json
    std::string problem;  // "-1 is out of range: 0 (off) or more"
};
std::optional<RangeFault> find_range_fault(const SamplingOptions& options);

}  // namespace sluice
