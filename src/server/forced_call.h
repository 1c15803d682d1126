#pragma once

#include <string>
#include <vector>

#include "server/answer_text.h"

namespace sluice::server {

// Reads an answer that a grammar made one call: what stands before its arguments names the function.
class ForcedCall {
  public:
    explicit ForcedCall(std::vector<ForcedFrame> frames) : frames_(std::move(frames)) {}

    std::vector<Delta> push(const std::string& text);
    std::vector<Delta> finish();

  private:
    std::vector<ForcedFrame> frames_;
    const ForcedFrame* frame_ = nullptr;  // once it is known
    std::string held_;
};

}  // namespace sluice::server
