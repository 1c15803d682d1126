#include "experts/eviction.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "experts/similar_tokens.h"
#include "experts/slot_heap.h"

namespace sluice {

namespace {

class Lru final : public EvictionOrder {
  public:
    explicit Lru(size_t slots) : place_(slots), last_use_(slots), heap_(&place_) {}

    void begin(int, std::span<const int>, bool, const RowChoices&) override {}
    void insert(size_t slot, ExpertKey, bool scan) override {
        ++tick_;
        // Below everything that decoding used; the newest goes first, so that a repeated scan keeps a part of itself.
        last_use_[slot] = scan ? -tick_ : tick_;
    }
    void use(size_t slot, bool scan) override {
        if (!scan) last_use_[slot] = ++tick_;
    }
    void pin(size_t slot) override { heap_.remove(slot); }
    void unpin(size_t slot) override { heap_.push(slot, last_use_[slot]); }
    void erase(size_t) override {}
    size_t evict() override {
        if (heap_.empty()) return kNoSlot;
        const size_t slot = heap_.top();
        heap_.remove(slot);
        return slot;
    }

  private:
    std::vector<size_t> place_;
    std::vector<double> last_use_;
    SlotHeap heap_;
    double tick_ = 0;
};

// Evicts the expert that is least likely to be used soon. Its chance at its layer's next turn is estimated from two
// running means of its use over the turns of its layer, a fast one (what this passage of text needs) and a slow one
// (what the layer mostly needs); both outlive eviction. Layers take turns in a circle, so an expert whose layer was
// just done waits longest and is worth less. The constants are from the traces of the trained models:
// docs/experiments.md.
class FrequencyLru final : public EvictionOrder {
  public:
    FrequencyLru(size_t slots, int layers, int experts)
        : experts_(static_cast<size_t>(experts)),
          fast_(static_cast<size_t>(layers) * experts_, 0.0f),
          slow_(fast_),
          place_(slots),
          key_(slots),
          heaps_(static_cast<size_t>(layers), SlotHeap(&place_)) {}

    void begin(int layer, std::span<const int>, bool scan, const RowChoices&) override {
        current_ = layer;
        if (scan) return;
        const size_t first = static_cast<size_t>(layer) * experts_;
        for (size_t i = first; i < first + experts_; ++i) {
            fast_[i] *= kFastDecay;
            slow_[i] *= kSlowDecay;
        }
        heaps_[static_cast<size_t>(layer)].update([this](size_t slot) { return value(slot); });
    }
    void insert(size_t slot, ExpertKey key, bool scan) override {
        key_[slot] = key;
        use(slot, scan);
    }
    void use(size_t slot, bool scan) override {
        if (scan) return;
        fast_[index(slot)] += 1.0f - kFastDecay;
        slow_[index(slot)] += 1.0f - kSlowDecay;
    }
    void pin(size_t slot) override { heaps_[layer_of(slot)].remove(slot); }
    void unpin(size_t slot) override { heaps_[layer_of(slot)].push(slot, value(slot)); }
    void erase(size_t) override {}

    size_t evict() override {
        const int layers = static_cast<int>(heaps_.size());
        SlotHeap* worst_heap = nullptr;
        double worst = 0;
        for (int layer = 0; layer < layers; ++layer) {
            SlotHeap& heap = heaps_[static_cast<size_t>(layer)];
            if (heap.empty()) continue;
            const int wait = (layer - current_ + layers - 1) % layers + 1;  // layers until its next turn
            const double chance = (heap.top_value() + kLeast) * (1.0 - kWaitLoss * wait / layers);
            if (worst_heap == nullptr || chance < worst) {
                worst_heap = &heap;
                worst = chance;
            }
        }
        if (worst_heap == nullptr) return kNoSlot;
        const size_t slot = worst_heap->top();
        worst_heap->remove(slot);
        return slot;
    }

  private:
    static constexpr float kFastDecay = 0.70710678f;  // half in 2 turns
    static constexpr float kSlowDecay = 0.98922803f;  // half in 64 turns
    static constexpr float kFastShare = 0.2f;
    static constexpr double kWaitLoss = 0.6;  // of its worth, for a wait of the whole circle
    static constexpr double kLeast = 1e-6;    // so that experts never used rank by their wait

    size_t layer_of(size_t slot) const { return static_cast<size_t>(key_[slot].layer); }
    size_t index(size_t slot) const { return layer_of(slot) * experts_ + static_cast<size_t>(key_[slot].expert); }
    double value(size_t slot) const {
        return kFastShare * fast_[index(slot)] + (1.0f - kFastShare) * slow_[index(slot)];
    }

    size_t experts_;
    std::vector<float> fast_, slow_;  // [layers * experts]
    std::vector<size_t> place_;
    std::vector<ExpertKey> key_;   // [slots]
    std::vector<SlotHeap> heaps_;  // [layers]
    int current_ = 0;
};

// Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023): a small queue for newcomers, a main queue
// for what was used again, and the names of those that the small queue let go.
class S3Fifo final : public EvictionOrder {
  public:
    S3Fifo(size_t slots, int layers, int experts)
        : small_target_(std::max<size_t>(1, slots / 10)),
          ghost_limit_(slots - std::min(slots, small_target_)),
          experts_(static_cast<size_t>(experts)),
          ghost_(static_cast<size_t>(layers) * experts_, 0),
          key_(slots),
          uses_(slots, 0),
          pinned_(slots, 1) {}

    void begin(int, std::span<const int>, bool, const RowChoices&) override {}
    void insert(size_t slot, ExpertKey key, bool scan) override {
        key_[slot] = index(key);
        uses_[slot] = 0;
        pinned_[slot] = 1;
        const bool known = ghost_[key_[slot]] != 0 && !scan;
        ghost_[key_[slot]] = 0;
        (known ? main_ : small_).push_back(slot);
    }
    void use(size_t slot, bool scan) override {
        if (!scan) uses_[slot] = static_cast<uint8_t>(std::min(uses_[slot] + 1, kMostUses));
    }
    void pin(size_t slot) override { pinned_[slot] = 1; }
    void unpin(size_t slot) override { pinned_[slot] = 0; }
    void erase(size_t slot) override {
        std::erase(small_, slot);
        std::erase(main_, slot);
    }

    size_t evict() override {
        size_t slot = kNoSlot;
        if (small_.size() >= small_target_ || main_.empty()) slot = evict_small();
        if (slot == kNoSlot) slot = evict_main();
        return slot != kNoSlot ? slot : evict_small();
    }

  private:
    static constexpr int kMostUses = 3;

    size_t index(ExpertKey key) const {
        return static_cast<size_t>(key.layer) * experts_ + static_cast<size_t>(key.expert);
    }

    size_t evict_small() {
        for (size_t at = 0; at < small_.size();) {
            const size_t slot = small_[at];
            if (pinned_[slot]) {
                ++at;
                continue;
            }
            small_.erase(small_.begin() + static_cast<std::ptrdiff_t>(at));
            if (uses_[slot] > 0) {
                uses_[slot] = 0;
                main_.push_back(slot);
                continue;
            }
            remember(key_[slot]);
            return slot;
        }
        return kNoSlot;
    }

    size_t evict_main() {
        // Each slot is seen at most kMostUses + 1 times: every pass costs it a use.
        size_t pinned_in_a_row = 0;
        while (pinned_in_a_row < main_.size()) {
            const size_t slot = main_.front();
            main_.pop_front();
            if (pinned_[slot]) {
                main_.push_back(slot);
                ++pinned_in_a_row;
            } else if (uses_[slot] > 0) {
                --uses_[slot];
                main_.push_back(slot);
                pinned_in_a_row = 0;
            } else {
                return slot;
            }
        }
        return kNoSlot;
    }

    void remember(size_t key) {
        if (ghost_limit_ == 0) return;
        ghost_[key] = ++ghost_tick_;
        ghost_queue_.push_back({key, ghost_tick_});
        while (ghost_queue_.size() > ghost_limit_) {
            const auto [oldest, tick] = ghost_queue_.front();
            ghost_queue_.pop_front();
            if (ghost_[oldest] == tick) ghost_[oldest] = 0;
        }
    }

    size_t small_target_, ghost_limit_, experts_;
    std::deque<size_t> small_, main_;  // slots, oldest in front
    std::vector<uint64_t> ghost_;      // [layers * experts]: when the small queue let it go, 0: not remembered
    std::deque<std::pair<size_t, uint64_t>> ghost_queue_;
    uint64_t ghost_tick_ = 0;
    std::vector<size_t> key_;
    std::vector<uint8_t> uses_, pinned_;
};

}  // namespace

std::string_view eviction_policy_name(EvictionPolicy policy) {
    switch (policy) {
        case EvictionPolicy::kLru:
            return "lru";
        case EvictionPolicy::kFrequencyLru:
            return "frequency-lru";
        case EvictionPolicy::kS3Fifo:
            return "s3-fifo";
        case EvictionPolicy::kSimilarTokens:
            return "similar-tokens";
    }
    return "unknown";
}

std::unique_ptr<EvictionOrder> make_eviction_order(EvictionPolicy policy, size_t slots, int layers, int experts) {
    switch (policy) {
        case EvictionPolicy::kLru:
            return std::make_unique<Lru>(slots);
        case EvictionPolicy::kFrequencyLru:
            return std::make_unique<FrequencyLru>(slots, layers, experts);
        case EvictionPolicy::kS3Fifo:
            return std::make_unique<S3Fifo>(slots, layers, experts);
        case EvictionPolicy::kSimilarTokens:
            return std::make_unique<SimilarTokens>(slots, layers, experts);
    }
    return nullptr;
}

}  // namespace sluice
