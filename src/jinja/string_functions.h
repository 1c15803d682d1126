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
SourcedText replace(const SourcedText& source, std::string_view old, const SourcedText& with, int64_t count);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
SourcedText join(const SourcedText& separator, const Value& items);  // items must be strings

}  // namespace sluice::jinja
