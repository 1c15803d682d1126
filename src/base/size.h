#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// "1500M", "6G", "512K", "1.5G", or bytes; K, M, G, T are powers of 1024, an ending "B" or "iB" is allowed. Nothing for
// another text.
std::optional<uint64_t> read_size(std::string_view text);
inline constexpr std::string_view kNoSize =
    "is not a size; give bytes or a number with K, M, G or T, as in 1500M or 6G";

// The same, but throws kUsage: `what` is the flag or field to name.
uint64_t parse_size(std::string_view text, std::string_view what);

// "1.5 GB", in powers of 1024 as parse_size reads them, for people.
std::string format_size(uint64_t bytes);

}  // namespace sluice
