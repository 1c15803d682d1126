#include "model/state_memory.h"

namespace sluice {

namespace {

bool first_owner(std::unordered_map<int32_t, size_t>& owners, int32_t number) {
    return ++owners[number] == 1;
}

bool last_owner(std::unordered_map<int32_t, size_t>& owners, int32_t number) {
    const auto owned = owners.find(number);
    if (--owned->second > 0) return false;
    owners.erase(owned);
    return true;
}

}  // namespace

void StateMemory::add(const SequenceState& state) {
    for (const int32_t page : state.pages()) {
        if (first_owner(page_owners_, page)) bytes_ += state.pool().page_bytes();
    }
    if (state.recurrent() && first_owner(slot_owners_, state.slot())) bytes_ += state.pool().slot_bytes();
}

void StateMemory::remove(const SequenceState& state) {
    for (const int32_t page : state.pages()) {
        if (last_owner(page_owners_, page)) bytes_ -= state.pool().page_bytes();
    }
    if (state.recurrent() && last_owner(slot_owners_, state.slot())) bytes_ -= state.pool().slot_bytes();
}

}  // namespace sluice
