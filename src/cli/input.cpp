#include "cli/input.h"

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace sluice::cli {

std::string read_text(const std::string& path) {
    if (path == "-") return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
    // Only a regular file has a size to ask for; a pipe or a terminal is read to its end.
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    const bool streams = std::filesystem::is_fifo(status) || std::filesystem::is_character_file(status);
    if (!streams) return read_text_file(path);
    std::ifstream in(path, std::ios::binary);
    if (!in) fail(ErrorCode::kIo, "{}: {}", path, errno_text(errno));
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<TokenId> read_token_file(const std::string& path) {
    const nlohmann::json document = nlohmann::json::parse(read_text(path), nullptr, false);
    if (document.is_discarded()) {
        fail(ErrorCode::kInvalidFile, "{}: not JSON; an array of token ids is expected, as in [1, 2, 3]", path);
    }
    const nlohmann::json* list = &document;
    if (document.is_object() && document.contains("ids")) list = &document["ids"];
    if (!list->is_array()) {
        fail(ErrorCode::kInvalidFile, "{}: an array of token ids is expected, or an object with \"ids\", not {}", path,
             document.type_name());
    }
    std::vector<TokenId> ids;
    ids.reserve(list->size());
    for (size_t i = 0; i < list->size(); ++i) {
        const nlohmann::json& entry = (*list)[i];
        const int64_t id = entry.is_number_integer() ? entry.get<int64_t>() : -1;
        if (id < 0 || id > std::numeric_limits<TokenId>::max()) {
            fail(ErrorCode::kInvalidFile, "{}: entry {} is {}, not a token id", path, i, entry.dump().substr(0, 40));
        }
        ids.push_back(static_cast<TokenId>(id));
    }
    return ids;
}

}  // namespace sluice::cli
