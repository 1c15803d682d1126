#pragma once

// Small models of families by their config alone: every tensor that the config asks for, random, in F32.

#include <string>
#include <vector>

#include "tests/support/tiny_checkpoint.h"

namespace sluice::testing {

nlohmann::json tiny_deepseek_v32_config();  // 20 tokens seen at most
nlohmann::json tiny_glm_moe_dsa_config();   // layers 1 and 2 share the choice of layer 0
nlohmann::json tiny_kimi_linear_config();   // the third of four layers is latent attention
nlohmann::json tiny_qwen4_exp_config();     // n-grams in two layers, an indexer in the last two; 9 ends a text
nlohmann::json tiny_nemotron_h_config();    // Mamba-2, experts, attention, an MLP
nlohmann::json tiny_nemotron_h_latent_config(int64_t width);  // the same, experts that read and give so many numbers
nlohmann::json tiny_glm5_next_config();    // 12 tokens seen at most, in pools of 4; layer 3 shares the choice of 2
nlohmann::json tiny_deepseek_v4_config();  // a window of 10; runs of 4 in layer 1, of 128 in layer 2
nlohmann::json tiny_step3p7_config();      // a window of 9 in layers 1 and 2, experts from layer 1 on, cut in the last

TinyCheckpoint tiny_model(const nlohmann::json& config);

}  // namespace sluice::testing
