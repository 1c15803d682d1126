#include "model/owned_numbers.h"

namespace sluice {

std::optional<int32_t> OwnedNumbers::take() {
    if (!free_.empty()) {
        const int32_t number = free_.back();
        free_.pop_back();
        owners_[static_cast<size_t>(number)] = 1;
        return number;
    }
    if (static_cast<int64_t>(owners_.size()) == limit_) return std::nullopt;
    owners_.push_back(1);
    return static_cast<int32_t>(owners_.size()) - 1;
}

bool OwnedNumbers::release(int32_t number) {
    if (--owners_[static_cast<size_t>(number)] > 0) return false;
    free_.push_back(number);
    return true;
}

}  // namespace sluice
