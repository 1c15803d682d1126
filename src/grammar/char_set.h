#pragma once

// Sets of Unicode characters as sorted ranges.

#include <initializer_list>
#include <vector>

namespace sluice::grammar {

struct CharRange {
    char32_t low = 0;
    char32_t high = 0;  // inclusive

    bool operator==(const CharRange&) const = default;
};

// Surrogates are no characters: no set holds them.
class CharSet {
  public:
    CharSet() = default;
    CharSet(std::initializer_list<CharRange> ranges);
    static CharSet all();

    void add(char32_t low, char32_t high);
    void add(const CharSet& other);
    CharSet complement() const;

    bool empty() const { return ranges_.empty(); }
    // Ascending, disjoint and not touching.
    const std::vector<CharRange>& ranges() const { return ranges_; }

  private:
    void insert(char32_t low, char32_t high);

    std::vector<CharRange> ranges_;
};

}  // namespace sluice::grammar
