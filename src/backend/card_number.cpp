#include <charconv>

#include "base/error.h"
#include "sluice/cards.h"

namespace sluice {

std::optional<size_t> card_number(std::string_view device) {
    if (device != "auto" && !device.starts_with("cuda")) return std::nullopt;
    const size_t colon = device.find(':');
    if (colon == std::string_view::npos) return 0;
    size_t number = 0;
    const char* const end = device.data() + device.size();
    const auto [stop, error] = std::from_chars(device.data() + colon + 1, end, number);
    if (error != std::errc() || stop != end) {
        fail(ErrorCode::kUsage, "`device` {}: cards are counted from 0", device);
    }
    return number;
}

}  // namespace sluice
