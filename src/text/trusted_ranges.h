#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

namespace sluice {

// Which bytes of a text are trusted: only there may its writer have meant an added token.
class TrustedRanges {
  public:
    static TrustedRanges everything() {
        TrustedRanges all;
        all.add(0, SIZE_MAX);
        return all;
    }
    // Behind what was added before.
    void add(size_t begin, size_t end) {
        if (!ranges_.empty() && ranges_.back().second == begin) {
            ranges_.back().second = end;
        } else if (begin < end) {
            ranges_.emplace_back(begin, end);
        }
    }

    // Where the range that holds byte `at` ends; `at` itself where none does.
    size_t end_at(size_t at) const {
        const auto behind = std::ranges::upper_bound(ranges_, at, {}, &std::pair<size_t, size_t>::first);
        return behind == ranges_.begin() ? at : std::max(at, std::prev(behind)->second);
    }

    // Calls visit(begin, end) for what of the bytes begin to end is trusted, counted from `begin`.
    template <typename Visit>
    void for_each_within(size_t begin, size_t end, Visit visit) const {
        auto range = std::ranges::upper_bound(ranges_, begin, {}, &std::pair<size_t, size_t>::second);
        for (; range != ranges_.end() && range->first < end; ++range) {
            visit(std::max(range->first, begin) - begin, std::min(range->second, end) - begin);
        }
    }

  private:
    std::vector<std::pair<size_t, size_t>> ranges_;  // ascending, apart from each other
};

}  // namespace sluice
