#pragma once

#include <string>
#include <vector>

#include "sluice/tokenizer.h"

namespace sluice::cli {

// A whole file, a pipe to its end, or standard input where the name is "-". Throws as read_text_file does.
std::string read_text(const std::string& path);

// A JSON array of ids, or an object with `ids`. Throws kInvalidFile naming the file and the entry at fault.
std::vector<TokenId> read_token_file(const std::string& path);

}  // namespace sluice::cli
