#include "cli/line_history.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace sluice::cli {

namespace {

constexpr uint64_t kLargestFile = uint64_t{16} << 20;

std::string line_of(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// What is no JSON string, such as the end of a line that was cut off, counts for nothing.
std::vector<std::string> entries_of(const std::string& text) {
    std::vector<std::string> entries;
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const auto entry = nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(at),
                                                 text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
        if (entry.is_string()) entries.push_back(entry.get<std::string>());
        at = end + 1;
    }
    return entries;
}

}  // namespace

std::vector<std::string> LineHistory::read() const {
    if (path_.empty()) return {};
    try {
        std::vector<std::string> entries = entries_of(read_text_file(path_, kLargestFile));
        const size_t found = entries.size();
        if (found > kKept) entries.erase(entries.begin(), entries.end() - static_cast<std::ptrdiff_t>(kKept));
        if (found > 2 * kKept) {
            std::string kept;
            for (const std::string& entry : entries) kept += line_of(entry);
            write_text_file(path_, kept, Privacy::kPrivate);
        }
        return entries;
    } catch (const Error& error) {
        if (error.code() != ErrorCode::kNotFound) log_warning("no history of lines: {}", error.what());
        return {};
    }
}

void LineHistory::add(const std::string& text) const {
    if (path_.empty()) return;
    try {
        if (path_.has_parent_path()) create_private_folders(path_.parent_path());
        const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (file < 0) fail(ErrorCode::kIo, "{}: {}", path_.string(), errno_text(errno));
        const std::string line = line_of(text);
        const bool whole = ::write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
        ::close(file);
        if (!whole) fail(ErrorCode::kIo, "{}: the line was not written", path_.string());
    } catch (const Error& error) {
        log_debug("a line is not in the history: {}", error.what());
    }
}

}  // namespace sluice::cli
