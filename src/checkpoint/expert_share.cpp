#include "checkpoint/expert_share.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace sluice {

// Of the layer's experts; beyond them where the layer has none of the share.
int64_t ExpertShare::first(int64_t layer, int64_t experts) const {
    const int64_t before = (layer % of) * (experts % of) % of;
    return (number - 1 - before + of) % of;
}

int64_t ExpertShare::count(int64_t layer, int64_t experts) const {
    return std::max<int64_t>(0, (experts - 1 - first(layer, experts) + of) / of);
}

std::vector<int64_t> ExpertShare::held(int64_t layer, int64_t experts) const {
    std::vector<int64_t> found;
    for (int64_t expert = first(layer, experts); expert < experts; expert += of) found.push_back(expert);
    return found;
}

std::string ExpertShare::text() const {
    return fmt::format("{}/{}", number, of);
}

ExpertShare read_share(std::string_view text, int64_t experts, std::string_view field) {
    ExpertShare share;
    if (text.empty()) return share;
    const char* const end = text.data() + text.size();
    auto parsed = std::from_chars(text.data(), end, share.number);
    const bool parted = parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '/';
    if (parted) parsed = std::from_chars(parsed.ptr + 1, end, share.of);
    const bool read = parted && parsed.ec == std::errc() && parsed.ptr == end;
    if (!read || share.number < 1 || share.number > share.of) {
        fail(ErrorCode::kUsage, "{} \"{}\": such as 1/3, 2/3 and 3/3 for three folders", field, text);
    }
    const int64_t most = std::min(experts, kMostShares);
    if (share.of > most) fail(ErrorCode::kUsage, "{} \"{}\": {} shares are the most", field, text, most);
    return share;
}

}  // namespace sluice
