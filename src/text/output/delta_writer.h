#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sluice/output_parser.h"

namespace sluice::output {

// Collects the deltas of one push; pieces of one part that follow each other become one.
class DeltaWriter {
  public:
    void text(OutputPart part, std::string_view piece) {
        if (piece.empty()) return;
        if (deltas_.empty() || deltas_.back().part != part) deltas_.push_back({.part = part, .text = {}});
        deltas_.back().text += piece;
    }
    void begin_call(std::string name) {
        deltas_.push_back({.part = OutputPart::kToolCall, .text = {}, .call = calls_++, .name = std::move(name)});
    }
    void arguments(std::string_view piece) {
        if (piece.empty()) return;
        const bool joins = !deltas_.empty() && deltas_.back().part == OutputPart::kToolCall &&
                           deltas_.back().call + 1 == calls_ && deltas_.back().name.empty();
        if (!joins) deltas_.push_back({.part = OutputPart::kToolCall, .text = {}, .call = calls_ - 1});
        deltas_.back().text += piece;
    }
    size_t calls() const { return calls_; }
    std::vector<OutputDelta> take() { return std::exchange(deltas_, {}); }

  private:
    std::vector<OutputDelta> deltas_;
    size_t calls_ = 0;
};

}  // namespace sluice::output
