#pragma once

// The beginnings of tensor names, taken off one after the other.

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace sluice {

inline bool consume(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

// "12." at the start of the text.
inline std::optional<int> consume_number(std::string_view& text) {
    int number = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const auto digits = static_cast<size_t>(stop - text.data());
    if (error != std::errc() || number < 0 || !text.substr(digits).starts_with('.')) return std::nullopt;
    text.remove_prefix(digits + 1);
    return number;
}

}  // namespace sluice
