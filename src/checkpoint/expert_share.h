#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// Which experts one of several folders holds, each of which is packed with a part of the records: every `of`-th,
// counted through all layers. The first of 3 is "1/3".
struct ExpertShare {
    int64_t number = 1, of = 1;

    bool operator==(const ExpertShare&) const = default;
    bool whole() const { return of == 1; }
    // `experts`: of a layer.
    bool holds(int64_t layer, int64_t expert, int64_t experts) const { return expert % of == first(layer, experts); }
    int64_t count(int64_t layer, int64_t experts) const;
    std::vector<int64_t> held(int64_t layer, int64_t experts) const;
    std::string text() const;

  private:
    int64_t first(int64_t layer, int64_t experts) const;
};

inline constexpr int64_t kMostShares = 1024;
// Of "2/3"; the whole of "". Throws kUsage, naming `field`, for what is none of at most `experts` and kMostShares.
ExpertShare read_share(std::string_view text, int64_t experts, std::string_view field);

}  // namespace sluice
