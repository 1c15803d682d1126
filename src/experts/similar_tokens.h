#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "experts/eviction.h"
#include "experts/slot_heap.h"

namespace sluice {

// Evicts the expert that is expected to be needed last. What is needed is foreseen from the past: the tokens most like
// this one (the same experts in the layers done so far, a like token before) tell which experts its remaining layers
// take, and what came after them which experts the next two tokens take; two running means of each expert's use stand
// in where they are silent. Of a batch of several tokens each is remembered and compared by itself, and the next
// batch's token at the same place is taken for the one that follows it. Layers take turns in a circle, so an expert is
// worth less the longer its layer's turn is away. The constants are from traces of trained models: docs/experiments.md.
class SimilarTokens final : public EvictionOrder {
  public:
    SimilarTokens(size_t slots, int layers, int experts);

    void begin(int layer, std::span<const int> experts, bool scan, const RowChoices& rows) override;
    void insert(size_t slot, ExpertKey key, bool) override { key_[slot] = key; }
    void use(size_t, bool) override {}  // begin() has counted it
    void pin(size_t slot) override { heap_of(slot).remove(slot); }
    void unpin(size_t slot) override { heap_of(slot).push(slot, worth_[index(slot)]); }
    void erase(size_t) override {}
    size_t evict() override;

  private:
    struct Neighbour {
        size_t token = 0;  // place in the history
        float weight = 0;
        bool operator<(const Neighbour& other) const {
            return weight != other.weight ? weight > other.weight : token < other.token;
        }
    };

    SlotHeap& heap_of(size_t slot) { return heaps_[static_cast<size_t>(key_[slot].layer)]; }
    size_t index(size_t slot) const {
        return static_cast<size_t>(key_[slot].layer) * experts_ + static_cast<size_t>(key_[slot].expert);
    }
    // Experts that the token at this place of the history took in the layer; empty: none known.
    std::span<const uint16_t> taken(size_t layer, size_t token) const;
    double habit(size_t index) const;  // chance of an expert at its layer's next turn, by its means alone
    void begin_tokens(size_t rows);
    void inherit_likeness(size_t old_rows);
    void remember(size_t row, std::span<const int> experts);
    void compare(size_t row, std::span<const int> experts);
    void find_neighbours();
    void find_neighbours(size_t row);
    size_t place_of(size_t row) const;
    bool is_present(size_t place) const;
    void foresee();
    void foresee_layer(size_t distance);
    void add_votes(size_t layer, size_t tokens_on, std::vector<float>& votes, double& voters) const;
    size_t age(size_t token) const;

    size_t layers_, experts_;
    std::vector<float> fast_, slow_;  // [layers * experts]: means of use over the layer's turns
    std::vector<float> worth_;        // [layers * experts]: see worth()
    std::vector<uint16_t> history_;   // [layers, tokens, picks]: a ring of the last tokens
    std::vector<uint8_t> picks_;      // [layers, tokens]
    std::vector<size_t> next_;        // [tokens]: place of the token that followed, or kNone
    std::vector<float> likeness_;     // [rows, tokens]: to the present ones
    std::vector<float> inherited_;    // [tokens]
    std::vector<float> newness_;      // [tokens]: weight by age
    std::vector<Neighbour> neighbours_, of_row_;
    std::vector<float> votes_next_, votes_after_;  // [experts]
    std::vector<uint8_t> asked_;                   // [experts]
    size_t first_ = 0;                             // place of the present tokens' first
    size_t rows_ = 1;                              // present tokens
    size_t known_ = 0;                             // places that were filled, the present ones included
    size_t current_;                               // layer
    bool evicted_ = false;                         // before that, nothing needs to be foreseen
    bool foreseen_ = false;                        // since the last begin()
    double layer_discount_, circle_discount_;
    std::vector<size_t> place_;
    std::vector<ExpertKey> key_;   // [slots]
    std::vector<SlotHeap> heaps_;  // [layers]
};

}  // namespace sluice
