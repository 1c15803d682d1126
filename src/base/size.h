#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// "1500M", "6G", "512K", "1.5G", or bytes. K, M, G, T are powers of 1024, as are KiB to TiB; KB to TB are powers of
// 1000. Nothing for another text.
std::optional<uint64_t> read_size(std::string_view text);
inline constexpr std::string_view kNoSize =
    "is not a size; give bytes or a number with K, M, G or T, as in 1500M or 6G";

// The same, but throws kUsage: `what` is the flag or field to name.
uint64_t parse_size(std::string_view text, std::string_view what);

// "1.50 GiB", in powers of 1024, for people.
std::string format_size(uint64_t bytes);

}  // namespace sluice
