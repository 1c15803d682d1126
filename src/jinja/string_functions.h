#pragma once

// What string methods and filters share.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.h"

namespace sluice::jinja {

// str.strip and its halves. `characters` empty: whitespace.
std::string_view strip(std::string_view text, std::string_view characters, bool left, bool right);
// Python's str.replace; a negative `count` means all.
std::string replace(std::string_view text, std::string_view old, std::string_view with, int64_t count);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
std::string join(std::string_view separator, const Value& items);  // items must be strings

}  // namespace sluice::jinja
