#pragma once

// Small models of families by their config alone: every tensor that the config asks for, random, in F32.

#include <string>
#include <vector>

#include "tests/support/tiny_checkpoint.h"

namespace sluice::testing {

nlohmann::json tiny_deepseek_v32_config();  // 20 tokens seen at most
nlohmann::json tiny_glm_moe_dsa_config();   // layers 1 and 2 share the choice of layer 0
nlohmann::json tiny_kimi_linear_config();   // the third of four layers is latent attention
nlohmann::json tiny_nemotron_h_config();    // Mamba-2, experts, attention, an MLP

TinyCheckpoint tiny_model(const nlohmann::json& config);

}  // namespace sluice::testing
