#pragma once

#include <cstdint>

namespace sluice {

// Logits of this many bytes are computed at once; a large vocabulary would otherwise need a lot of scratch. A card
// reads the head once for all rows of a step.
constexpr int64_t head_bytes(bool on_card) {
    return on_card ? 64 << 20 : 16 << 20;
}

}  // namespace sluice
