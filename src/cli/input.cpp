#include "cli/input.h"

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"

namespace sluice::cli {

namespace {

constexpr uint64_t kLongestInput = uint64_t{256} << 20;  // bytes, of what has no size to ask for
constexpr uint64_t kLongestIds = uint64_t{1} << 30;      // bytes

bool has_no_size(const std::string& path) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    return std::filesystem::is_fifo(status) || std::filesystem::is_character_file(status);
}

// To its end, unless it has none.
void read_stream(std::istream& in, const std::string& path, const std::function<void(std::string_view)>& take) {
    std::string buffer(1 << 20, '\0');
    for (uint64_t bytes = 0; in;) {
        in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
        const auto got = static_cast<size_t>(in.gcount());
        bytes += got;
        if (bytes > kLongestInput) {
            fail(ErrorCode::kInvalidFile, "{}: no end after {}, more than is read of a pipe or a device", path,
                 format_size(kLongestInput));
        }
        take({buffer.data(), got});
    }
}

void read_stream(const std::string& path, const std::function<void(std::string_view)>& take) {
    std::ifstream in(path, std::ios::binary);
    if (!in) fail(ErrorCode::kIo, "{}: {}", path, errno_text(errno));
    read_stream(in, path, take);
}

}  // namespace

std::string read_text(const std::string& path) {
    if (path != "-" && !has_no_size(path)) return read_text_file(path);
    std::string text;
    const auto append = [&text](std::string_view part) { text += part; };
    if (path == "-") {
        read_stream(std::cin, "standard input", append);
    } else {
        read_stream(path, append);
    }
    return text;
}

MappableFile::MappableFile(const std::string& path) : path_(path) {
    if (!has_no_size(path)) return;
    std::string folder = (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) fail(ErrorCode::kIo, "{}: {}", folder, errno_text(errno));
    folder_ = folder;
    path_ = folder_ / std::filesystem::path(path).filename();
    AtomicFile copy(path_, Privacy::kPrivate);
    read_stream(path, [&copy](std::string_view part) { copy.append(std::as_bytes(std::span(part))); });
    copy.commit();
}

MappableFile::~MappableFile() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

std::vector<TokenId> read_token_file(const std::string& path) {
    const nlohmann::json document = parse_json(read_text(path), path, {.bytes = kLongestIds, .bytes_per_value = 1});
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
