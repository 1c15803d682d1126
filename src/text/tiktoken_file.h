#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "text/tokenizer_file.h"

namespace sluice {

// tiktoken.model (a line per token: its bytes in base64, its rank) as the tokenizer.json it stands for: a byte-level
// BPE that joins the pair whose union has the lowest rank. Patterns and special tokens are not in the file: those of
// Kimi's tokenizers (class TikTokenTokenizer) are known, `config` (tokenizer_config.json) names the tokens.
// Throws kInvalidFile, kUnsupported for another class.
TokenizerFile parse_tiktoken_file(std::string_view text, const std::string& label, const nlohmann::json& config);

}  // namespace sluice
