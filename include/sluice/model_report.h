#pragma once

// What a checkpoint is, or would be once it is downloaded. No model is run.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sluice/error.h"

namespace sluice {

struct SkippedReport {
    std::string reason;
    uint64_t tensors = 0;
    uint64_t bytes = 0;
    std::string example;
};

// The matrices of one role that are stored in one format.
struct FormatReport {
    std::string role;  // the module, such as "self_attn.q_proj"; "experts.up_proj" for routed experts
    std::string format;
    uint64_t matrices = 0;
    uint64_t bytes = 0;
};

struct ModelReport {
    std::string architecture;  // model_type
    std::string layout;        // "Hugging Face", "MLX", "GGUF", "packed"
    std::string expert_quantization, trunk_quantization;
    int64_t layers = 0, full_attention_layers = 0, linear_attention_layers = 0, latent_attention_layers = 0;
    int64_t moe_layers = 0, dense_layers = 0;
    int64_t hidden_size = 0, vocabulary = 0, max_positions = 0;
    int64_t residual_streams = 1;  // of hidden_size each
    int64_t heads = 0, kv_heads = 0, head_dim = 0;
    int64_t experts = 0, experts_per_token = 0, expert_intermediate = 0, shared_intermediate = 0;
    uint64_t trunk_bytes = 0, expert_bytes = 0, bytes_per_expert = 0;
    uint64_t row_table_bytes = 0;  // of n-gram tables: never in memory as a whole
    uint64_t rows_per_token = 0;   // of them, read from the drive; likewise their bytes
    uint64_t row_bytes_per_token = 0;
    uint64_t expert_bytes_per_token = 0;  // read per token when nothing is cached
    uint64_t arrangement_bytes = 0;       // of memory in which experts that are not stored as records become such
    uint64_t trunk_bytes_per_token = 0;   // read from memory per token: the trunk without embedding rows not looked up
    uint64_t weights_per_token = 0;       // matrix elements a token is multiplied with, trunk and experts
    uint64_t kv_bytes_per_token = 0;      // in BF16
    uint64_t state_bytes_per_sequence = 0;  // recurrent state
    uint64_t files = 0, file_bytes = 0;
    bool has_tokenizer = false, has_chat_template = false;
    std::string fingerprint;
    std::vector<FormatReport> formats;  // in the order in which roles are first met; empty from a config alone
    std::vector<SkippedReport> skipped;
};

// `model`: a folder, or a GGUF file. Throws Error as opening the checkpoint does.
ModelReport inspect(const std::filesystem::path& model);

// The same from a config.json or the first part of a GGUF model alone, before the weights are downloaded: their sizes
// follow from the shapes and from the quantization that it names, for GGUF from the types of the tensors that it holds.
// Throws Error for what it does not describe or Sluice does not run.
ModelReport inspect_config(const std::filesystem::path& config);

// What inspect_config is to be given where the weights of `model` are not there: `model` itself where it is a
// config.json or the first part of a GGUF model, the config.json alone in a folder. Empty where the weights are there,
// or nothing is. Throws kUsage for a file that is none of these.
std::filesystem::path find_lone_config(const std::filesystem::path& model);

}  // namespace sluice
