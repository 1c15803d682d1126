#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/gguf_header.h"
#include "text/tokenizer_file.h"

namespace sluice {

// What the metadata of a GGUF file says of text. All throw kInvalidFile or kUnsupported, naming file and key.

inline constexpr std::string_view kGgufTokens = "tokenizer.ggml.tokens";

bool has_gguf_tokenizer(const GgufHeader& header);

// As the tokenizer.json that it stands for.
TokenizerFile read_gguf_tokenizer(const GgufHeader& header);

// The special tokens by name, as tokenizer_config.json has them: {"bos_token": "<s>", ...}.
nlohmann::json gguf_special_tokens(const GgufHeader& header);

// Name and source of each chat template; "default" first.
std::vector<std::pair<std::string, std::string>> gguf_chat_templates(const GgufHeader& header);

// As generation_config.json has it: eos_token_id (all tokens that end an answer), and the publisher's sampling.
nlohmann::json gguf_generation_config(const GgufHeader& header);

}  // namespace sluice
