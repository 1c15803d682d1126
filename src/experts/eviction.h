#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace sluice {

enum class EvictionPolicy { kLru, kFrequencyLru, kS3Fifo, kSimilarTokens };

inline constexpr EvictionPolicy kAllPolicies[] = {EvictionPolicy::kLru, EvictionPolicy::kS3Fifo,
                                                  EvictionPolicy::kFrequencyLru, EvictionPolicy::kSimilarTokens};

std::string_view eviction_policy_name(EvictionPolicy policy);  // "lru", ..., as in `cache-sim`

struct ExpertKey {
    int layer = 0;
    int expert = 0;
    friend bool operator==(const ExpertKey&, const ExpertKey&) = default;
};

inline constexpr ExpertKey kNoExpert{-1, -1};
inline constexpr size_t kNoSlot = static_cast<size_t>(-1);

// What each row of a batch takes of a layer, for orders that look for rows that are alike.
struct RowChoices {
    std::span<const int32_t> experts;  // [rows, per_row]; negative: none. Empty: one row that takes all of the batch's
    size_t per_row = 0;

    size_t rows() const { return per_row == 0 ? 1 : experts.size() / per_row; }
};

// Which of the slots that nobody uses loses its expert next. Pure bookkeeping, deterministic. One thread. A use that is
// part of a scan (a long prompt that touches most experts of a layer) neither promotes an expert nor puts it before
// those that decoding uses, so that the working set of decoding survives a prefill.
class EvictionOrder {
  public:
    virtual ~EvictionOrder() = default;
    // A batch asks for these experts of the layer; uses, insertions and evictions for them follow.
    virtual void begin(int layer, std::span<const int> experts, bool scan, const RowChoices& rows) = 0;
    virtual void insert(size_t slot, ExpertKey key, bool scan) = 0;  // the slot is taken and pinned
    virtual void use(size_t slot, bool scan) = 0;                    // asked for again while in the cache
    virtual void pin(size_t slot) = 0;                               // was evictable
    virtual void unpin(size_t slot) = 0;                             // evictable from now on
    virtual void erase(size_t slot) = 0;                             // a pinned slot lost its expert: the read failed
    virtual size_t evict() = 0;  // forgets and returns an evictable slot; kNoSlot when all are pinned
};

std::unique_ptr<EvictionOrder> make_eviction_order(EvictionPolicy policy, size_t slots, int layers, int experts);

}  // namespace sluice
