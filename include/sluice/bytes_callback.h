#pragma once

// How a long work on files tells of itself.

#include <cstdint>
#include <functional>

namespace sluice {

// Called with bytes done and total; false cancels.
using BytesCallback = std::function<bool(uint64_t done, uint64_t total)>;

}  // namespace sluice
