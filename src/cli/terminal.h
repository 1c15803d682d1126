#pragma once

#include <string>
#include <string_view>

namespace sluice::cli {

// Whether text to this descriptor may have colours: it is a terminal, TERM says more than "dumb", and nobody asked for
// none with NO_COLOR.
bool has_colours(int descriptor);

inline constexpr std::string_view kDim = "\x1b[2m";
inline constexpr std::string_view kNormal = "\x1b[0m";

// Without control characters other than line ends and tabs, so that what a model writes cannot steer a terminal. The
// text holds whole characters of UTF-8.
std::string without_controls(std::string_view text);

}  // namespace sluice::cli
