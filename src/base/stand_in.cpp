#include "base/stand_in.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {

namespace {

constexpr std::string_view kLfsPointer = "version https://git-lfs";
constexpr std::string_view kZip = "PK\x03\x04";
constexpr std::string_view kGzip = "\x1f\x8b";

}  // namespace

std::string stand_in_text(std::string_view beginning, std::string_view wanted) {
    // Of a short beginning as much as there is.
    const bool pointer = beginning.size() >= 8 && beginning.starts_with(kLfsPointer.substr(0, beginning.size()));
    if (pointer) return fmt::format("a Git LFS pointer, not {}: fetch the file with git lfs pull", wanted);
    const size_t first = std::min(beginning.find_first_not_of(" \t\r\n"), beginning.size());
    if (beginning.substr(first).starts_with("<"))
        return fmt::format("a page of HTML, not {}: what was to be fetched is an error", wanted);
    if (beginning.starts_with(kZip)) return fmt::format("a zip archive, as PyTorch saves, not {}", wanted);
    if (beginning.starts_with(kGzip)) return fmt::format("a gzip archive, not {}: unpack it", wanted);
    return {};
}

}  // namespace sluice
