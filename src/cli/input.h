#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sluice/tokenizer.h"

namespace sluice::cli {

// A whole file, a pipe to its end, or standard input where the name is "-". Throws as read_text_file does.
std::string read_text(const std::string& path);

// A file that can be read anywhere: the one of this name, or a copy of what a pipe gives, for as long as it lives.
class MappableFile {
  public:
    explicit MappableFile(const std::string& path);
    ~MappableFile();
    MappableFile(const MappableFile&) = delete;
    MappableFile& operator=(const MappableFile&) = delete;

    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path folder_, path_;
};

// A JSON array of ids, or an object with `ids`. Throws kInvalidFile naming the file and the entry at fault.
std::vector<TokenId> read_token_file(const std::string& path);

}  // namespace sluice::cli
