#include "model/resident_experts.h"

#include <numeric>
#include <vector>

namespace sluice {

const ResidentLayer* ResidentExperts::layer(int layer, int experts, const std::function<void()>& go_on) {
    if (const auto found = layers_.find(layer); found != layers_.end()) return &found->second;
    if (!store_.holds_all_of(layer)) return nullptr;
    store_.keep_all_of(layer);
    std::vector<int> all(static_cast<size_t>(experts));
    std::iota(all.begin(), all.end(), 0);
    std::vector<int32_t> slots(all.size());
    ExpertStream stream = store_.stream(layer, all, ExpertUse::kScan);
    for (std::vector<HeldExpert> held = stream.next(); !held.empty(); held = stream.next()) {
        for (const HeldExpert& expert : held) {
            if (expert.error()) return nullptr;
            backend_.after(expert.arrived());
            slots[expert.index()] = static_cast<int32_t>(expert.slot());
        }
        held.clear();  // they stay where they are: no other wants their slots
        go_on();
    }
    const SlotMemory& memory = store_.memory(layer);
    ResidentLayer resident{.memory = memory.whole(), .slot_bytes = memory.slot_bytes(), .slots = {}, .more = {}};
    const BufferPtr table = backend_.allocate(slots.size() * sizeof(int32_t));
    backend_.upload(table, 0, std::as_bytes(std::span(slots)));
    resident.slots = make_tensor(table, DType::kI32, static_cast<int64_t>(slots.size()), 1);
    return &layers_.emplace(layer, std::move(resident)).first->second;
}

}  // namespace sluice
