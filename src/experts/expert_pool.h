#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "device/slot_memory.h"
#include "experts/admission.h"
#include "experts/expert_catalogue.h"
#include "experts/expert_stream.h"
#include "experts/expert_tiers.h"
#include "experts/reads.h"

namespace sluice {

// The slots of one record size: what is where, whose it is, and the memory.
struct ExpertPool {
    // A slot given back whose operations are not finished; it keeps its lease until then.
    struct Use {
        size_t slot;
        EventPtr done;
    };
    // The tier in the host's memory under slots of a device.
    struct HostTier {
        explicit HostTier(std::unique_ptr<SlotMemory> slots)
            : memory(std::move(slots)), in_service(memory->slots()), target(in_service) {}

        std::unique_ptr<SlotMemory> memory;
        std::deque<Use> copied;       // slots that are copied from or to, oldest first, and their leases until then
        std::deque<EventPtr> saves;   // to slots that count as ready, oldest first
        std::vector<size_t> retired;  // slots out of service
        size_t in_service, target;    // slots
    };

    // `below`: memory of the host's tier, or null.
    ExpertPool(std::unique_ptr<SlotMemory> slots, std::unique_ptr<SlotMemory> below, int layers, int experts,
               EvictionPolicy policy)
        : host(below ? std::make_unique<HostTier>(std::move(below)) : nullptr),
          memory(std::move(slots)),
          cache(memory->slots(), host ? host->memory->slots() : 0, layers, experts, policy),
          admission(memory->slots()),
          arrivals(memory->slots()),
          waiters(memory->slots()),
          target(memory->slots()) {}

    uint64_t record_bytes() const { return memory->slot_bytes(); }
    uint64_t bytes_in_service() const { return record_bytes() * slots_held(); }
    uint64_t all_bytes() const { return record_bytes() * memory->slots(); }

    uint64_t host_bytes_in_service() const { return host ? record_bytes() * host->in_service : 0; }
    uint64_t all_host_bytes() const { return host ? record_bytes() * host->memory->slots() : 0; }

    // Gives back the slots whose operations are finished by now, and those of the host's tier whose copies are.
    void sweep_uses();
    void sweep_copied();
    // Takes slots out of service that no stream uses or is promised, down to the target. Their memory goes back to the
    // system under the store's lock, lest a slot be restored and filled meanwhile.
    void retire_slots();
    void restore_slots();  // up to the target, as far as there is memory
    // The same of the host's tier.
    void retire_host_slots();
    void restore_host_slots();
    // Slots that are kept empty, so that what comes to them moves nothing that a running step reads: `most` of them, so
    // that `least` stay in service; and back into service.
    void keep_reserve(size_t most, size_t least);
    void end_reserve();
    // Those of the reserve that a step fills by itself: `most` of them, but none that a copy is still on its way to;
    // one of them back into service, as the next that is filled; all of them.
    void lend(size_t most);
    void take_back(size_t slot);
    void end_lending();
    size_t slots_held() const { return admission.slots() + reserve.size() + lent.size(); }
    // Whether slots of the host's tier that count as ready wait for what they hold.
    bool saving();
    // The slot is filled, or will be.
    void landed(const ReadOutcome& outcome);
    // When the record is in its slot; null: it is.
    EventPtr arrival(size_t slot);

    size_t retire_one();

    std::unique_ptr<HostTier> host;  // null: none; its memory outlives the copies from it, which `memory` waits for
    std::unique_ptr<SlotMemory> memory;
    ExpertTiers cache;  // of `memory` over the host's tier
    Admission admission;
    std::vector<EventPtr> arrivals;                         // [slots]
    std::vector<std::vector<ExpertStream::Impl*>> waiters;  // [slots]: for the read that fills it
    std::vector<Use> uses;                                  // oldest first
    std::list<ExpertStream::Impl*> streams;                 // in the order they came; those not admitted are the last
    std::vector<size_t> retired, reserve, lent;             // slots out of service
    size_t target;                                          // slots that should be in service
    bool reached = false;                                   // a step may read any slot where it is: none leaves service
    bool fixed = false;                                     // all experts have a slot, for good: likewise
    uint64_t moves = 0;  // how often a slot was given to another expert or taken from one
};

using MakeSlots = std::function<std::unique_ptr<SlotMemory>(size_t slots, size_t slot_bytes)>;

// Memory of a tier, and what makes it.
struct TierMemory {
    uint64_t bytes = 0;
    MakeSlots make = {};
};

// Divides the bytes of `cache` among pools, one per record size: the experts of one token first, then each gets the
// same share of what it lacks to hold all of its experts; and those of `host` in equal shares of all. Throws
// kOutOfMemory when that floor does not fit.
std::vector<std::unique_ptr<ExpertPool>> make_pools(const ExpertCatalogue& catalogue, EvictionPolicy policy,
                                                    const TierMemory& cache, const TierMemory& host);

}  // namespace sluice
