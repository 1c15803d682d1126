#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace sluice {

// Numbers below a limit that are free or have owners, several perhaps.
class OwnedNumbers {
  public:
    explicit OwnedNumbers(int64_t limit) : limit_(limit) {}

    int64_t limit() const { return limit_; }
    int64_t taken() const { return static_cast<int64_t>(owners_.size() - free_.size()); }
    // A free one, which has one owner then; nothing where none is left.
    std::optional<int32_t> take();
    void add_owner(int32_t number) { ++owners_[static_cast<size_t>(number)]; }
    // True when that was the last owner.
    bool release(int32_t number);
    bool shared(int32_t number) const { return owners_[static_cast<size_t>(number)] > 1; }

  private:
    int64_t limit_;
    std::vector<int32_t> owners_;  // of every number that was ever taken
    std::vector<int32_t> free_;    // of those
};

}  // namespace sluice
