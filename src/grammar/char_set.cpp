#include "grammar/char_set.h"

#include <algorithm>

namespace sluice::grammar {

namespace {

constexpr char32_t kBeforeSurrogates = 0xD7FF, kAfterSurrogates = 0xE000, kLast = 0x10FFFF;

}  // namespace

CharSet::CharSet(std::initializer_list<CharRange> ranges) {
    for (const CharRange& range : ranges) add(range.low, range.high);
}

CharSet CharSet::all() {
    return {{0, kLast}};
}

void CharSet::add(char32_t low, char32_t high) {
    insert(low, std::min(high, kBeforeSurrogates));
    insert(std::max(low, kAfterSurrogates), std::min(high, kLast));
}

void CharSet::add(const CharSet& other) {
    for (const CharRange& range : other.ranges_) insert(range.low, range.high);
}

void CharSet::insert(char32_t low, char32_t high) {
    if (low > high) return;
    if (ranges_.empty() || low > ranges_.back().high + 1) {
        ranges_.push_back({low, high});
        return;
    }
    const auto first = std::ranges::lower_bound(ranges_, low, {}, [](const CharRange& r) { return r.high + 1; });
    auto last = first;
    for (; last != ranges_.end() && last->low <= high + 1; ++last) {
        low = std::min(low, last->low);
        high = std::max(high, last->high);
    }
    ranges_.insert(ranges_.erase(first, last), CharRange{low, high});
}

CharSet CharSet::complement() const {
    CharSet result;
    char32_t next = 0;
    for (const CharRange& range : ranges_) {
        if (range.low > next) result.add(next, range.low - 1);
        next = range.high + 1;
    }
    if (next <= kLast) result.add(next, kLast);
    return result;
}

}  // namespace sluice::grammar
