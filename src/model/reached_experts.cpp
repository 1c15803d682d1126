#include "model/reached_experts.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <ranges>
#include <set>
#include <utility>

namespace sluice {

namespace {

// Rows of a step: more read an expert more often than it would be copied.
constexpr int64_t kMostRows = 8;
// Choices of a pass for each expert from which on nearly all are needed; below, it pays to ask which
// (docs/experiments.md, S23).
constexpr int64_t kChoicesOfAnExpert = 128;
// Layers whose experts have room at once: one that is computed, and the next.
constexpr size_t kStagesAtOnce = 2;
// Experts of a layer that the reserve itself may take from the device.
constexpr int64_t kMoreFar = 16;
// Slots that a step may fill by itself: see ExpertArrivals.
constexpr size_t kMostArrivals = 96;
constexpr int64_t kEntryNumbers = sizeof(ArrivalEntry) / sizeof(int32_t);

}  // namespace

ReachedExperts::ReachedExperts(Backend& backend, ExpertStore& store, Sizes sizes)
    : backend_(backend), store_(store), sizes_(std::move(sizes)) {}

void ReachedExperts::make_layers() {
    const auto count = static_cast<size_t>(sizes_.layers.back()) + 1;
    layers_.resize(count);
    slots_ = backend_.allocate(count * static_cast<size_t>(sizes_.experts) * sizeof(int32_t));
    chosen_.resize(count * static_cast<size_t>(kMostRows * sizes_.experts_per_token));
    ids_ = backend_.allocate(chosen_.size() * sizeof(int32_t));
    const auto experts = static_cast<size_t>(sizes_.experts);
    claims_ = backend_.allocate(count * (experts + 1) * sizeof(int32_t));
    guesses_ = backend_.allocate(count * experts * sizeof(float));
    entries_ = backend_.allocate((kMostArrivals + 1) * sizeof(ArrivalEntry));
    for (const int layer : sizes_.layers) {
        const SlotMemory& memory = store_.memory(layer);
        const uint64_t first = static_cast<uint64_t>(layer) * static_cast<uint64_t>(sizes_.experts) * sizeof(int32_t);
        layers_[static_cast<size_t>(layer)] = {.memory = memory.whole(),
                                               .slot_bytes = memory.slot_bytes(),
                                               .slots = make_tensor(slots_, DType::kI32, sizes_.experts, 1, first),
                                               .more = store_.host_memory(layer).whole(),
                                               .first_more = static_cast<int64_t>(memory.slots())};
    }
}

// A prompt is worth copying a layer's experts for when it needs most of them.
bool ReachedExperts::takes(int64_t rows, bool prompt) const {
    // Where the device has room for all, they stay there.
    if (refused_ || !backend_.reaches() || !backend_.routes(rows) || store_.holds_all_of(sizes_.layers.front())) {
        return false;
    }
    const bool long_enough = rows * sizes_.experts_per_token >= kChoicesOfAnExpert * sizes_.experts;
    return (prompt ? long_enough : rows <= kMostRows) && store_.has_room_for_all();
}

bool ReachedExperts::find(const std::function<void()>& go_on) {
    if (store_.begin_reach(places_)) return true;
    load(go_on);
    refused_ = !store_.begin_reach(places_);
    return !refused_;
}

bool ReachedExperts::begin(int64_t rows, bool prompt, const std::function<void()>& go_on) {
    fetches_ = rows == 1 && !prompt && store_.lends();
    if (!fetches_) give_up_arrivals();
    if (!takes(rows, prompt) || !find(go_on)) {
        give_up_arrivals();
        return false;
    }
    rows_ = rows;
    prompt_ = prompt;
    try {
        prepare();
    } catch (...) {
        end(false);
        throw;
    }
    if (places_.slots.empty()) end(false);
    return rows_ > 0;
}

void ReachedExperts::prepare() {
    if (layers_.empty()) make_layers();
    if (prompt_) plan_stages();
    if (places_.slots.empty()) return;
    if (fetches_) put_arrivals();
    put_places();
    for (size_t i = 0; i < std::min(kStagesAtOnce, stages_.size()); ++i) stage(i, nullptr);
}

bool ReachedExperts::is_far(int layer, int64_t expert) const {
    return places_.slots[static_cast<size_t>(layer * sizes_.experts + expert)] >=
           layers_[static_cast<size_t>(layer)].first_more;
}

// Layers in turn share the reserve. What has no room there is read where it is.
void ReachedExperts::plan_stages() {
    int64_t most = 0;
    for (const int layer : sizes_.layers) {
        int64_t count = 0;
        for (int64_t expert = 0; expert < sizes_.experts; ++expert) count += is_far(layer, expert) ? 1 : 0;
        most = std::max(most, count);
    }
    std::map<const SlotMemory*, std::vector<int32_t>> reserves;
    for (const int layer : sizes_.layers) {
        std::vector<int32_t>& slots = reserves[&store_.memory(layer)];
        if (slots.empty()) slots = store_.reserve(layer, kStagesAtOnce * static_cast<size_t>(most + kMoreFar));
    }
    if (!store_.begin_reach(places_)) return places_.slots.clear();
    for (size_t i = 0; i < sizes_.layers.size(); ++i) {
        const int layer = sizes_.layers[i];
        const std::vector<int32_t>& slots = reserves[&store_.memory(layer)];
        const size_t share = slots.size() / kStagesAtOnce;
        std::span<const int32_t> mine = std::span(slots).subspan(i % kStagesAtOnce * share, share);
        Stage& stage = stages_.emplace_back();
        for (int64_t expert = 0; expert < sizes_.experts && !mine.empty(); ++expert) {
            if (!is_far(layer, expert)) continue;
            stage.experts.push_back({{layer, static_cast<int>(expert)}, mine.front()});
            mine = mine.subspan(1);
        }
    }
}

size_t ReachedExperts::index_of(int layer) const {
    return static_cast<size_t>(std::ranges::lower_bound(sizes_.layers, layer) - sizes_.layers.begin());
}

void ReachedExperts::stage(size_t index, const EventPtr& after) {
    if (index < stages_.size()) stages_[index].arrived = store_.stage(stages_[index].experts, after);
}

void ReachedExperts::begin_layer(int layer) {
    if (prompt_) backend_.after(stages_[index_of(layer)].arrived);
}

void ReachedExperts::end_layer(int layer) {
    if (prompt_) stage(index_of(layer) + kStagesAtOnce, backend_.mark());
}

// Through the device's slots, whence the host's tier gets them.
void ReachedExperts::load(const std::function<void()>& go_on) {
    for (const int layer : sizes_.layers) {
        ExpertStream stream = store_.stream(layer, store_.on_drive(layer), ExpertUse::kScan);
        while (!stream.next().empty()) go_on();
    }
    store_.keep_all_below();
}

void ReachedExperts::put_places() {
    std::vector<int32_t> slots = places_.slots;
    for (const Stage& each : stages_) {
        for (const auto& [key, slot] : each.experts) {
            slots[static_cast<size_t>(key.layer * sizes_.experts + key.expert)] = slot;
        }
    }
    for (const auto& [key, slot] : came_) {
        slots[static_cast<size_t>(key.layer * sizes_.experts + key.expert)] = slot;
    }
    if (placed_ == slots) return;
    placed_ = std::move(slots);
    backend_.upload(slots_, 0, std::as_bytes(std::span(placed_)));
}

// Of passes before this one.
void ReachedExperts::give_up_arrivals() {
    fetches_ = false;
    came_.clear();
    if (!arrivals_.empty()) store_.take_back();
    arrivals_.clear();
}

void ReachedExperts::put_arrivals() {
    const std::vector<int32_t> slots = store_.lend(came_);
    const size_t count = std::min(slots.size(), kMostArrivals);
    arrivals_ = {{.number = static_cast<int32_t>(count)}};
    for (size_t i = 0; i < count; ++i) arrivals_.push_back({.slot = slots[i]});
    backend_.upload(entries_, 0, std::as_bytes(std::span(arrivals_)));
    backend_.clear({claims_, 0, claims_->bytes()});
}

std::vector<ArrivalEntry> ReachedExperts::coming() const {
    std::vector<ArrivalEntry> taken;
    if (!fetches_) return taken;
    std::ranges::copy_if(arrivals_ | std::views::drop(1), std::back_inserter(taken),
                         [](const ArrivalEntry& entry) { return entry.number > 0; });
    return taken;
}

// What the pass has brought to the device in whole.
void ReachedExperts::take_arrivals() {
    came_.clear();
    const auto experts = static_cast<int32_t>(sizes_.experts);
    for (const ArrivalEntry& entry : coming()) {
        const int32_t expert = entry.number - 1;
        if (entry.left == 0) came_.push_back({{expert / experts, expert % experts}, entry.slot});
    }
}

ExpertArrivals ReachedExperts::arrivals(int layer) const {
    if (!fetches_) return {};
    const int64_t claims = sizes_.experts + 1;
    return {
        .claims = make_tensor(claims_, DType::kI32, claims, 1, static_cast<uint64_t>(layer * claims) * sizeof(int32_t)),
        .entries = make_tensor(entries_, DType::kI32, kMostArrivals + 1, kEntryNumbers),
        .number = layer * sizes_.experts + 1};
}

Tensor ReachedExperts::guess(int layer) const {
    return make_tensor(guesses_, DType::kF32, 1, sizes_.experts,
                       static_cast<uint64_t>(layer * sizes_.experts) * sizeof(float));
}

Tensor ReachedExperts::ids(int layer) const {
    if (prompt_) return {};
    const int64_t of_layer = kMostRows * sizes_.experts_per_token;
    return make_tensor(ids_, DType::kI32, rows_, sizes_.experts_per_token,
                       static_cast<uint64_t>(layer * of_layer) * sizeof(int32_t));
}

void ReachedExperts::handed_over() {
    if (prompt_) return;
    backend_.download(ids_, 0, std::as_writable_bytes(std::span(chosen_)));
    if (fetches_) backend_.download(entries_, 0, std::as_writable_bytes(std::span(arrivals_)));
    if (last_rows_ == 0) return;
    const std::vector<StepChoices> last = choices_of(last_, std::exchange(last_rows_, 0));
    store_.move_by(last, came_, places_);
    came_.clear();
}

std::vector<StepChoices> ReachedExperts::choices_of(std::span<const int32_t> ids, int64_t rows) const {
    const auto of_layer = static_cast<size_t>(kMostRows * sizes_.experts_per_token);
    const auto count = static_cast<size_t>(rows * sizes_.experts_per_token);
    std::vector<StepChoices> choices;
    for (const int layer : sizes_.layers) {
        choices.push_back({layer, ids.subspan(static_cast<size_t>(layer) * of_layer, count)});
    }
    return choices;
}

// What the table said while the pass ran; of a prompt for each expert once.
void ReachedExperts::count() {
    std::vector<int32_t> all(prompt_ ? static_cast<size_t>(sizes_.experts) : 0);
    std::iota(all.begin(), all.end(), 0);
    std::vector<StepChoices> chosen;
    if (!prompt_) chosen = choices_of(chosen_, rows_);
    for (const int layer : prompt_ ? sizes_.layers : std::vector<int>()) chosen.push_back({layer, all});
    uint64_t far = 0, choices = 0, bytes = 0;
    std::set<int32_t> copied;
    for (const ArrivalEntry& entry : coming()) {
        copied.insert(entry.number);
        const ResidentLayer& where = layers_[static_cast<size_t>((entry.number - 1) / sizes_.experts)];
        bytes += std::min<uint64_t>(static_cast<uint64_t>(entry.taken) * kArrivalBytes, where.slot_bytes);
    }
    for (const auto& [layer, experts] : chosen) {
        const ResidentLayer& where = layers_[static_cast<size_t>(layer)];
        const int32_t* const slots = placed_.data() + layer * sizes_.experts;
        choices += experts.size();
        for (const int32_t expert : experts) {
            if (slots[expert] < where.first_more) continue;
            ++far;
            const int64_t number = layer * sizes_.experts + expert + 1;
            if (!copied.contains(static_cast<int32_t>(number))) bytes += where.slot_bytes;
        }
    }
    for (const Stage& each : stages_) far += each.experts.size();
    store_.count_reached(choices - far, far, bytes);
}

void ReachedExperts::end(bool complete) {
    if (rows_ == 0) return;
    if (complete && fetches_) take_arrivals();
    if (complete) count();
    if (complete && !prompt_) {
        std::swap(chosen_, last_);
        chosen_.resize(last_.size());
        last_rows_ = rows_;
    }
    rows_ = 0;
    stages_.clear();
    store_.end_reach();
}

}  // namespace sluice
