#pragma once

// What the writers of config.json from GGUF's hyperparameters share.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "checkpoint/architecture.h"
#include "checkpoint/gguf_rules.h"

namespace sluice {

// The architecture that reads such files. Throws kUnsupported, naming what the file says.
const Architecture& gguf_architecture(const GgufHeader& header);

// config.json for a model in these parts, as the publisher's would say it.
std::string gguf_config_text(const GgufHyperparameters& from, const Architecture& architecture);

// ---- for write_config

// Width, layers, vocabulary, positions, epsilon: every model has these.
void write_sizes(const GgufHyperparameters& from, nlohmann::json& config);
// Heads and rotary settings of grouped attention.
void write_grouped_attention(const GgufHyperparameters& from, nlohmann::json& config);
// rope_theta and rope_scaling.
void write_rotary(const GgufHyperparameters& from, nlohmann::json& config);
// What divides the frequencies of its pairs, if the file says so.
void write_frequency_divisors(const GgufHyperparameters& from, nlohmann::json& config);
// Experts, how many a token takes, and the factor of their weights.
void write_experts(const GgufHyperparameters& from, nlohmann::json& config);
// What DeepSeek-V3's kind of routing reads: dense layers first, shared experts, groups.
void write_corrected_routing(const GgufHyperparameters& from, nlohmann::json& config);
// expert_feed_forward_length, or what files of experts alone say instead.
int64_t expert_intermediate(const GgufHyperparameters& from);

}  // namespace sluice
