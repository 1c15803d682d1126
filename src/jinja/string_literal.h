#pragma once

#include <string>
#include <string_view>

namespace sluice::jinja {

// The text that a string literal stands for; `body` is what is between its quotes. Throws Failure for a broken escape.
std::string unescape(std::string_view body, int line);

}  // namespace sluice::jinja
