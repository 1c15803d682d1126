#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace sluice {

enum class EvictionPolicy { kLru, kFrequencyLru, kS3Fifo };

std::string_view eviction_policy_name(EvictionPolicy policy);  // "lru", "frequency-lru", "s3-fifo"

struct ExpertKey {
    int layer = 0;
    int expert = 0;
    friend bool operator==(const ExpertKey&, const ExpertKey&) = default;
};

inline constexpr size_t kNoSlot = static_cast<size_t>(-1);

// Which of the slots that nobody uses loses its expert next. Pure bookkeeping, deterministic. One thread.
// A use that is part of a scan (a long prompt that touches most experts of a layer) neither promotes an
// expert nor puts it before those that decoding uses, so that the working set of decoding survives a prefill.
class EvictionOrder {
  public:
    virtual ~EvictionOrder() = default;
    virtual void begin(int layer, bool scan) = 0;                    // a batch asks for experts of this layer
    virtual void insert(size_t slot, ExpertKey key, bool scan) = 0;  // the slot is taken and pinned
    virtual void use(size_t slot, bool scan) = 0;                    // asked for again while in the cache
    virtual void pin(size_t slot) = 0;                               // was evictable
    virtual void unpin(size_t slot) = 0;                             // evictable from now on
    virtual void erase(size_t slot) = 0;  // a pinned slot lost its expert: the read failed
    virtual size_t evict() = 0;  // forgets and returns an evictable slot; kNoSlot when all are pinned
};

std::unique_ptr<EvictionOrder> make_eviction_order(EvictionPolicy policy, size_t slots, int layers,
                                                   int experts);

}  // namespace sluice
