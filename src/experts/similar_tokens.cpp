#include "experts/similar_tokens.h"

#include <algorithm>
#include <cmath>

namespace sluice {

namespace {

constexpr size_t kTokens = 2048;  // remembered
constexpr size_t kPicks = 16;     // remembered of a token and layer: more than any model takes
constexpr size_t kRows = 8;       // of a batch: its first tokens, as a sample of a larger one
constexpr size_t kNone = static_cast<size_t>(-1);
constexpr size_t kNeighbours = 32;  // asked
// Layers whose worth is brought up to date at an eviction: the nearest, since theirs is the choice that counts.
constexpr size_t kLayersAhead = 12;

constexpr float kFastDecay = 0.70710678f;  // half in 2 turns
constexpr float kSlowDecay = 0.98922803f;  // half in 64 turns
constexpr float kFastShare = 0.2f;

constexpr float kLayerDecay = 0.8f;   // of likeness, per layer: the last layers say most
constexpr float kTokenDecay = 0.75f;  // and from token to token
constexpr float kSharpness = 0.8f;    // of the weights: e^this for one expert more in common
constexpr float kLeastWeight = 1e-3f;
constexpr float kNewnessGain = 3.0f;  // the newest weighs this much more than the oldest,
constexpr float kNewnessTokens = 100.0f;
constexpr double kHabitVotes = 2.0;  // of the means, beside the neighbours' weights

constexpr double kHorizonCircles = 2.0;  // an expert that waits this long is worth 1/e
constexpr double kLeastWorth = 1e-6;     // so that experts never used rank by their wait

// The chance that an expert is needed before something else would take its slot, from its chances at its layer's next
// turn, the one after, and every further one; `discount` is of one circle.
double worth(double next, double after, double further, double discount) {
    const double later = further / (1.0 - (1.0 - further) * discount);
    return next + (1.0 - next) * discount * (after + (1.0 - after) * discount * later);
}

}  // namespace

SimilarTokens::SimilarTokens(size_t slots, int layers, int experts)
    : layers_(static_cast<size_t>(layers)),
      experts_(static_cast<size_t>(experts)),
      fast_(layers_ * experts_, 0.0f),
      slow_(fast_),
      worth_(fast_),
      history_(layers_ * kTokens * kPicks),
      picks_(layers_ * kTokens, 0),
      next_(kTokens, kNone),
      likeness_(kRows * kTokens, 0.0f),
      inherited_(kTokens),
      votes_next_(experts_),
      votes_after_(experts_),
      asked_(experts_, 0),
      current_(layers_),
      layer_discount_(std::exp(-1.0 / (kHorizonCircles * static_cast<double>(layers)))),
      circle_discount_(std::exp(-1.0 / kHorizonCircles)),
      place_(slots),
      key_(slots),
      heaps_(layers_, SlotHeap(&place_)) {
    for (size_t i = 0; i < kTokens; ++i)
        newness_.push_back(1.0f + kNewnessGain * std::exp(-static_cast<float>(i) / kNewnessTokens));
}

size_t SimilarTokens::age(size_t token) const {
    return (place_of(rows_ - 1) + kTokens - token) % kTokens;
}

size_t SimilarTokens::place_of(size_t row) const {
    return (first_ + row) % kTokens;
}

bool SimilarTokens::is_present(size_t place) const {
    return age(place) < rows_;
}

std::span<const uint16_t> SimilarTokens::taken(size_t layer, size_t token) const {
    const size_t row = layer * kTokens + token;
    return {history_.data() + row * kPicks, picks_[row]};
}

double SimilarTokens::habit(size_t index) const {
    return kFastShare * fast_[index] + (1.0f - kFastShare) * slow_[index];
}

void SimilarTokens::begin(int layer, std::span<const int> experts, bool scan, const RowChoices& rows) {
    const auto next = static_cast<size_t>(layer);
    if (!scan && next <= current_) begin_tokens(rows.rows());
    current_ = next;
    foreseen_ = false;
    if (scan) return;
    const size_t first = current_ * experts_;
    for (size_t i = first; i < first + experts_; ++i) {
        fast_[i] *= kFastDecay;
        slow_[i] *= kSlowDecay;
    }
    for (const int expert : experts) {
        fast_[first + static_cast<size_t>(expert)] += 1.0f - kFastDecay;
        slow_[first + static_cast<size_t>(expert)] += 1.0f - kSlowDecay;
    }
    for (size_t row = 0; row < std::min(rows.rows(), rows_); ++row) {
        const auto taken = rows.per_row == 0 ? experts : rows.experts.subspan(row * rows.per_row, rows.per_row);
        remember(row, taken);
        if (evicted_) compare(row, taken);
    }
    // What was foreseen for this turn is over.
    for (size_t i = first; i < first + experts_; ++i) {
        const double chance = habit(i);
        worth_[i] = static_cast<float>(worth(chance, chance, chance, circle_discount_));
    }
    heaps_[current_].update([this](size_t slot) { return worth_[index(slot)]; });
}

void SimilarTokens::begin_tokens(size_t rows) {
    const size_t old_first = first_, old_rows = known_ > 0 ? rows_ : 0;
    if (known_ > 0) first_ = place_of(rows_);
    rows_ = std::min(rows, kRows);
    known_ = std::min(known_ + rows_, kTokens);
    for (size_t row = 0; row < rows_; ++row) {
        const size_t place = place_of(row);
        for (size_t layer = 0; layer < layers_; ++layer) picks_[layer * kTokens + place] = 0;
        next_[place] = kNone;
        if (row < old_rows) next_[(old_first + row) % kTokens] = place;
    }
    inherit_likeness(old_rows);
}

// Whoever was like the last token is followed by one that may be like this.
void SimilarTokens::inherit_likeness(size_t old_rows) {
    for (size_t row = 0; row < rows_; ++row) {
        float* const likeness = likeness_.data() + row * kTokens;
        std::fill(inherited_.begin(), inherited_.end(), 0.0f);
        for (size_t token = 0; token < known_ && row < old_rows; ++token) {
            if (next_[token] != kNone) inherited_[next_[token]] = kTokenDecay * likeness[token];
        }
        std::copy(inherited_.begin(), inherited_.end(), likeness);
    }
}

void SimilarTokens::remember(size_t row, std::span<const int> experts) {
    const size_t at = current_ * kTokens + place_of(row);
    size_t count = 0;
    for (const int expert : experts) {
        if (expert < 0 || count == kPicks) continue;
        history_[at * kPicks + count++] = static_cast<uint16_t>(expert);
    }
    picks_[at] = static_cast<uint8_t>(count);
}

// Adds what this layer's experts say about who is like the present token.
void SimilarTokens::compare(size_t row, std::span<const int> experts) {
    const auto mark = [&](uint8_t asked) {
        for (const int expert : experts) {
            if (expert >= 0) asked_[static_cast<size_t>(expert)] = asked;
        }
    };
    mark(1);
    float* const likeness = likeness_.data() + row * kTokens;
    for (size_t token = 0; token < known_; ++token) {
        const auto picks = taken(current_, token);
        if (picks.empty()) continue;
        int common = 0;
        for (const uint16_t expert : picks) common += asked_[expert];
        likeness[token] = kLayerDecay * likeness[token] + static_cast<float>(common);
    }
    mark(0);
    for (size_t present = 0; present < rows_; ++present) likeness[place_of(present)] = 0;
}

void SimilarTokens::find_neighbours() {
    neighbours_.clear();
    for (size_t row = 0; row < rows_; ++row) {
        find_neighbours(row);
        neighbours_.insert(neighbours_.end(), of_row_.begin(), of_row_.end());
    }
}

void SimilarTokens::find_neighbours(size_t row) {
    of_row_.clear();
    const float* const likeness = likeness_.data() + row * kTokens;
    float most = 0;
    for (size_t token = 0; token < known_; ++token) most = std::max(most, likeness[token]);
    const float least = most + std::log(kLeastWeight) / kSharpness;
    for (size_t token = 0; token < known_; ++token) {
        if (is_present(token) || likeness[token] <= least) continue;
        of_row_.push_back({token, std::exp(kSharpness * (likeness[token] - most)) * newness_[age(token)]});
    }
    if (of_row_.size() <= kNeighbours) return;
    std::nth_element(of_row_.begin(), of_row_.begin() + kNeighbours, of_row_.end());
    of_row_.resize(kNeighbours);
    std::sort(of_row_.begin(), of_row_.end());  // sums in one order
}

void SimilarTokens::foresee() {
    find_neighbours();
    for (size_t distance = 1; distance <= std::min(kLayersAhead, layers_); ++distance) foresee_layer(distance);
    if (layers_ > kLayersAhead) foresee_layer(layers_);
    foreseen_ = true;
}

// The worth of the experts of the layer that is `distance` layers on.
void SimilarTokens::foresee_layer(size_t distance) {
    const size_t layer = (current_ + distance) % layers_;
    const size_t tokens_on = (current_ + distance) / layers_;
    double voters_next = 0, voters_after = 0;
    add_votes(layer, tokens_on, votes_next_, voters_next);
    add_votes(layer, tokens_on + 1, votes_after_, voters_after);
    // Neighbours of several tokens add up: any of them may take the expert.
    voters_next /= static_cast<double>(rows_);
    voters_after /= static_cast<double>(rows_);
    const auto at_most_one = [this](double chance) { return rows_ == 1 ? chance : std::min(chance, 1.0); };
    for (size_t expert = 0; expert < experts_; ++expert) {
        const size_t i = layer * experts_ + expert;
        const double chance = habit(i);
        const double next = at_most_one((votes_next_[expert] + kHabitVotes * chance) / (voters_next + kHabitVotes));
        const double after = at_most_one((votes_after_[expert] + kHabitVotes * chance) / (voters_after + kHabitVotes));
        worth_[i] = static_cast<float>(worth(next, after, chance, circle_discount_));
    }
    heaps_[layer].update([this](size_t slot) { return worth_[index(slot)]; });
}

// What the neighbours took in the layer `tokens_on` tokens later.
void SimilarTokens::add_votes(size_t layer, size_t tokens_on, std::vector<float>& votes, double& voters) const {
    std::fill(votes.begin(), votes.end(), 0.0f);
    for (const Neighbour& neighbour : neighbours_) {
        size_t token = neighbour.token;
        for (size_t i = 0; i < tokens_on && token != kNone; ++i) token = next_[token];
        if (token == kNone) continue;
        const auto picks = taken(layer, token);
        if (picks.empty()) continue;
        voters += neighbour.weight;
        for (const uint16_t expert : picks) votes[expert] += neighbour.weight;
    }
}

size_t SimilarTokens::evict() {
    evicted_ = true;
    if (!foreseen_) foresee();
    SlotHeap* worst_heap = nullptr;
    double worst = 0;
    double discount = 1;
    for (size_t distance = 1; distance <= layers_; ++distance) {
        discount *= layer_discount_;
        SlotHeap& heap = heaps_[(current_ + distance) % layers_];
        if (heap.empty()) continue;
        const double value = (heap.top_value() + kLeastWorth) * discount;
        if (worst_heap == nullptr || value < worst) {
            worst_heap = &heap;
            worst = value;
        }
    }
    if (worst_heap == nullptr) return kNoSlot;
    const size_t slot = worst_heap->top();
    worst_heap->remove(slot);
    return slot;
}

}  // namespace sluice
