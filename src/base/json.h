#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace sluice {

// Bounds for JSON that others wrote: what is read takes no more than a small multiple of the file.
struct JsonLimits {
    uint64_t bytes = uint64_t{64} << 20;
    size_t depth = 64;  // of lists in objects and so on
    // One value in so many bytes, and 65,536 more: a published file spends a dozen on each.
    uint64_t bytes_per_value = 8;
};

// JSON as a tree. Throws kInvalidFile in one line that begins with `label`, for text that is no JSON or is beyond the
// limits. Of members with the same name the last one counts.
nlohmann::json parse_json(std::string_view text, const std::string& label, const JsonLimits& limits = {});
// The same, with the members of objects in the order of the text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& label,
                                          const JsonLimits& limits = {});

// Text in which Python's Infinity, -Infinity and NaN, which are no JSON, are null: its library writes and reads them,
// and published config.json files hold them.
std::string without_non_finite(std::string text);

// The file as a tree. Throws as read_text_file() and parse_json() do.
nlohmann::json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});
nlohmann::ordered_json read_ordered_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

}  // namespace sluice
