#include "model/state_memory.h"

namespace sluice {

namespace {

// Recurrent state is a copy of its own in every state.
uint64_t recurrent_bytes(const LayerState& layer) {
    if (layer.delta.buffer == nullptr) return 0;
    return layer.convolution.buffer->bytes() + layer.delta.buffer->bytes();
}

}  // namespace

void StateMemory::add(const SequenceState& state) {
    for (size_t l = 0; l < state.specs().size(); ++l) {
        const LayerState& layer = state.layer(static_cast<int>(l));
        bytes_ += recurrent_bytes(layer);
        for (const auto& page : layer.pages) {
            if (++owners_[page.get()] == 1) bytes_ += page->buffer->bytes();
        }
    }
}

void StateMemory::remove(const SequenceState& state) {
    for (size_t l = 0; l < state.specs().size(); ++l) {
        const LayerState& layer = state.layer(static_cast<int>(l));
        bytes_ -= recurrent_bytes(layer);
        for (const auto& page : layer.pages) {
            const auto owned = owners_.find(page.get());
            if (--owned->second > 0) continue;
            bytes_ -= page->buffer->bytes();
            owners_.erase(owned);
        }
    }
}

}  // namespace sluice
