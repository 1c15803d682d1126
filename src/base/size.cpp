#include "base/size.h"

#include <array>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace sluice {

std::optional<uint64_t> read_size(std::string_view text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
    double scale = 1;
    if (!unit.empty()) {
        constexpr std::string_view kUnits = "KMGT";
        const char letter = static_cast<char>(unit[0] >= 'a' ? unit[0] - 'a' + 'A' : unit[0]);
        const size_t power = kUnits.find(letter);
        if (power != std::string_view::npos) {
            unit.remove_prefix(1);
            const bool decimal = unit == "B" || unit == "b";
            scale = std::pow(decimal ? 1000.0 : 1024.0, static_cast<double>(power + 1));
        }
        if (unit == "B" || unit == "b" || (unit == "iB" && scale > 1)) unit = {};
    }
    const double bytes = value * scale;
    if (error != std::errc() || !unit.empty() || !(bytes >= 0) || bytes >= 1e18) return std::nullopt;
    return static_cast<uint64_t>(bytes);
}

uint64_t parse_size(std::string_view text, std::string_view what) {
    const std::optional<uint64_t> bytes = read_size(text);
    if (!bytes) fail(ErrorCode::kUsage, "{}: \"{}\" {}", what, text, kNoSize);
    return *bytes;
}

std::string format_size(uint64_t bytes) {
    constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = static_cast<double>(bytes);
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < kNames.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0) return fmt::format("{} B", bytes);
    return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 1, kNames[unit]);
}

}  // namespace sluice
