#pragma once

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdint>
#include <string>

// Checks of a flag's value that say what would be right.

namespace sluice::cli {

// CLI11's own range check lets NaN pass.
inline CLI::Validator number_in(double low, double high) {
    return CLI::Validator(
        [low, high](std::string& text) {
            double value = 0;
            if (CLI::detail::lexical_cast(text, value) && std::isfinite(value) && value >= low && value <= high) {
                return std::string();
            }
            return fmt::format("{} is not a number from {} to {}", text, low, high);
        },
        fmt::format("{} to {}", low, high));
}

inline CLI::Validator at_least(int64_t low) {
    return CLI::Validator(
        [low](std::string& text) {
            int64_t value = 0;
            if (CLI::detail::lexical_cast(text, value) && value >= low) return std::string();
            return fmt::format("{} is not a whole number from {} on", text, low);
        },
        "N");
}

}  // namespace sluice::cli
