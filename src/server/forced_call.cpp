#include "server/forced_call.h"

#include <algorithm>

namespace sluice::server {

std::vector<Delta> ForcedCall::push(const std::string& text) {
    held_ += text;
    std::vector<Delta> deltas;
    if (frame_ == nullptr) {
        const auto found =
            std::ranges::find_if(frames_, [this](const ForcedFrame& frame) { return held_.starts_with(frame.before); });
        if (found == frames_.end()) return deltas;
        frame_ = &*found;
        held_.erase(0, frame_->before.size());
        deltas.push_back({.part = Part::kToolCall, .name = frame_->name});
    }
    // The end of what there is may be what follows the arguments.
    if (held_.size() > frame_->after.size()) {
        const size_t certain = held_.size() - frame_->after.size();
        deltas.push_back({.part = Part::kToolCall, .text = held_.substr(0, certain)});
        held_.erase(0, certain);
    }
    return deltas;
}

std::vector<Delta> ForcedCall::finish() {
    if (frame_ == nullptr || held_ == frame_->after) return {};
    // The answer was cut short; what is held are arguments, but for a beginning of what follows them.
    size_t end = std::min(held_.size(), frame_->after.size());
    while (end > 0 && held_.compare(held_.size() - end, end, frame_->after, 0, end) != 0) --end;
    held_.resize(held_.size() - end);
    if (held_.empty()) return {};
    return {{.part = Part::kToolCall, .text = std::exchange(held_, {})}};
}

}  // namespace sluice::server
