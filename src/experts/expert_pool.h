#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "device/slot_memory.h"
#include "experts/admission.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_stream.h"
#include "experts/expert_tiers.h"

namespace sluice {

// The slots of one record size: what is where, whose it is, and the memory.
struct ExpertPool {
    // A slot given back whose operations are not finished; it keeps its lease until then.
    struct Use {
        size_t slot;
        EventPtr done;
    };

    ExpertPool(std::unique_ptr<SlotMemory> slots, int layers, int experts, EvictionPolicy policy)
        : memory(std::move(slots)),
          cache(std::vector{memory->slots()}, layers, experts, policy),
          admission(memory->slots()),
          arrivals(memory->slots()),
          waiters(memory->slots()),
          target(memory->slots()) {}

    uint64_t record_bytes() const { return memory->slot_bytes(); }
    uint64_t bytes_in_service() const { return record_bytes() * admission.slots(); }
    uint64_t all_bytes() const { return record_bytes() * memory->slots(); }

    // Gives back the slots whose operations are finished by now.
    void sweep_uses();
    // Takes slots out of service that no stream uses or is promised, down to the target. Their memory goes back to the
    // system under the store's lock, lest a slot be restored and filled meanwhile.
    void retire_slots();
    void restore_slots();  // up to the target
    // When the record is in its slot; null: it is.
    EventPtr arrival(size_t slot);

    std::unique_ptr<SlotMemory> memory;
    ExpertTiers cache;  // of one tier: `memory`
    Admission admission;
    std::vector<EventPtr> arrivals;                         // [slots]
    std::vector<std::vector<ExpertStream::Impl*>> waiters;  // [slots]: for the read that fills it
    std::vector<Use> uses;                                  // oldest first
    std::list<ExpertStream::Impl*> streams;                 // in the order they came; those not admitted are the last
    std::vector<size_t> retired;                            // slots out of service
    size_t target;                                          // slots that should be in service
};

using MakeSlots = std::function<std::unique_ptr<SlotMemory>(size_t slots, size_t slot_bytes)>;

// Divides `cache_bytes` among pools, one per record size: the experts of one token first, then each gets the same share
// of what it lacks to hold all of its experts. Throws kOutOfMemory when that floor does not fit.
std::vector<std::unique_ptr<ExpertPool>> make_pools(const ExpertCatalogue& catalogue, uint64_t cache_bytes,
                                                    EvictionPolicy policy, const MakeSlots& make_slots);

}  // namespace sluice
