#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace sluice {

class TokenizerField;

// tokenizer_config.json of a checkpoint folder, an empty object where there is none or something else. Checkpoints from
// before its `added_tokens_decoder` have the same in special_tokens_map.json and added_tokens.json; these are laid over
// it then, as transformers does. Throws kInvalidFile.
nlohmann::json read_tokenizer_config(const std::filesystem::path& folder);

// The special tokens that such a document names (bos_token and its like, additional_special_tokens,
// extra_special_tokens): strings, or objects with `content`.
std::vector<TokenizerField> special_token_fields(const TokenizerField& config);

}  // namespace sluice
