// Steps that are handed over before their token is known: see StepAhead.

#include <algorithm>
#include <bit>
#include <utility>

#include "model/model.h"

namespace sluice {

namespace {

bool same_draw(const std::optional<DrawSettings>& a, const std::optional<DrawSettings>& b) {
    if (!a || !b) return !a && !b;
    return std::bit_cast<DrawRow>(*a) == std::bit_cast<DrawRow>(*b);
}

}  // namespace

Model::~Model() {
    drop_ahead();
    if (states_ != nullptr) states_->set_give_up({});
}

bool Model::can_go_ahead() const {
    return repeats_ && std::ranges::all_of(layers_, [](const Layer& layer) {
               return (layer.mixer == nullptr || layer.mixer->replaces_states()) &&
                      (layer.feed_forward == nullptr || !layer.feed_forward->decided_by_token());
           });
}

bool Model::is_ahead(std::span<const ForwardInput> inputs) const {
    if (!ahead_ || inputs.size() != 1) return false;
    const ForwardInput& input = inputs.front();
    return input.state->version() == ahead_->version && input.ids.size() == 1 && input.ids.front() == ahead_->id &&
           input.logit_rows.size() == 1 && !input.hidden && input.likeliest_of == ahead_->likeliest_of &&
           same_draw(input.draw, ahead_->draw);
}

std::vector<ForwardOutput> Model::follow(const ForwardInput& input) {
    const StepAhead step = std::exchange(ahead_, std::nullopt).value();
    if (step.written) states_->release_slot(input.state->move_to(*step.written));
    std::vector<ForwardOutput> outputs(1);
    outputs[0].likeliest = finish_step(input, step);
    ++steps_followed_;
    if (resident_) count_resident(1);
    checkpoint_->check_mappings();
    input.state->advance(1);
    if (ahead_) ahead_->version = input.state->version();
    return outputs;
}

// Takes nothing that another could need: no page, and of the slots only one that is free.
void Model::hand_over_ahead(const ForwardInput& input) {
    const SequenceState& state = *input.state;
    if (!goes_ahead_ || !input.goes_on || (state.position() + 1) % kKvPageTokens == 0) return;
    StepAhead next{.likeliest_of = input.likeliest_of, .draw = input.next_draw};
    if (state.recurrent()) {
        next.written = states_->take_free_slot();
        if (!next.written) return;
    }
    ahead_ = std::move(next);
    ForwardInput following = input;
    following.draw = input.next_draw;
    inputs_workspace_.reset();
    const Batch batch = make_batch(std::span(&following, 1), &*ahead_);
    const RecordedStep& step = recorded_step(batch, following, false);
    if (step.recording == nullptr || !backend_.replay(*step.recording)) return drop_ahead();
    ask_for_token(step, *ahead_);
}

void Model::ask_for_token(const RecordedStep& step, StepAhead& of) {
    of.told = std::exchange(next_told_, (next_told_ + 1) % told_.size());
    const std::span<int32_t> place(&told_[of.told], 1);
    backend_.download(step.likeliest.buffer, step.likeliest.offset, std::as_writable_bytes(place));
    of.done = backend_.mark();
}

int32_t Model::finish_step(const ForwardInput& input, const StepAhead& step) {
    hand_over_ahead(input);
    backend_.wait_for(step.done);
    const int32_t id = told_[step.told];
    if (id < 0) drop_ahead();  // which has no token
    if (ahead_) ahead_->id = id;
    return id;
}

bool Model::give_up_ahead() {
    const bool was_there = ahead_.has_value();
    drop_ahead();
    return was_there;
}

void Model::set_give_up_states(std::function<bool()> give_up) {
    states_->set_give_up([this, give_up = std::move(give_up)] { return give_up_ahead() || (give_up && give_up()); });
}

// What it meets concerns nobody.
void Model::drop_ahead() {
    if (!ahead_) return;
    try {
        backend_.wait();
    } catch (...) {
        placed_ = {};
    }
    if (ahead_->written) states_->release_slot(*ahead_->written);
    ahead_.reset();
}

}  // namespace sluice
