#pragma once

#include <cstddef>
#include <vector>

namespace sluice {

// A slot of the expert store.
struct SlotPlace {
    size_t pool = 0;
    size_t slot = 0;
    friend bool operator==(const SlotPlace&, const SlotPlace&) = default;
};
using SlotPlaces = std::vector<SlotPlace>;

}  // namespace sluice
