#pragma once

#include <vector>

#include "checkpoint/model_config.h"

namespace sluice {

// Rotary embedding of a config: angle of pair i at position p is p * frequencies[i].
struct RotaryTable {
    std::vector<float> frequencies;  // [dims / 2]
    float magnitude = 1;             // factor of cos and sin
    float softmax_factor = 1;        // factor of the attention scale (YaRN's m squared)
};

// theta^(-2i/dims), with YaRN as DeepSeek-V3 defines it: frequencies above the beta_fast bound stay, those below
// beta_slow are divided by `factor`, a linear ramp between (Peng et al., "YaRN", 2023).
RotaryTable make_rotary_table(const RotaryConfig& config);

}  // namespace sluice
