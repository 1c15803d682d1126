#pragma once

#include <string_view>
#include <vector>

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace sluice {

// The rotary settings of a config, from `rope_parameters` or from the older `rope_theta` and `rope_scaling`. Throws
// kUnsupported for a rope type other than default and yarn, kInvalidFile for settings that make no sense.
RotaryConfig read_rotary(const JsonFields& fields, int64_t dims, int64_t max_positions);

// The same where `partial_rotary_factor` says how much of a head is rotated.
RotaryConfig read_partial_rotary(const JsonFields& fields, int64_t head_dim, double default_factor,
                                 int64_t max_positions);

// The same of the layers of one type, whose settings may be an object of `rope_parameters` under the type's name.
RotaryConfig read_rotary_of_layers(const JsonFields& fields, std::string_view layers, int64_t head_dim,
                                   int64_t max_positions);

// `rope_frequency_divisors`, which GGUF stores as a tensor: one for each pair; empty where absent.
std::vector<float> read_frequency_divisors(const JsonFields& fields, int64_t pairs);

}  // namespace sluice
