#pragma once

#include <string>
#include <vector>

namespace sluice {

// Passes streamed text through until one of the stop strings appears; text that could be the start of one is held back.
class StopMatcher {
  public:
    explicit StopMatcher(std::vector<std::string> stop);

    // What of the text so far is certain not to belong to a stop string. Empty once stopped. Text that is not `shown`
    // (of a special token) is searched and never returned.
    std::string push(const std::string& text, bool shown = true);
    // The end: what was held back, unless a stop string was found.
    std::string finish(const std::string& text);
    bool stopped() const { return stopped_; }
    const std::string& found() const { return found_; }  // the stop string that appeared first

  private:
    std::vector<std::string> stop_;
    std::string take(size_t bytes);

    std::string held_;
    std::string shown_;  // of each byte of held_: 1 if it is
    std::string found_;
    bool stopped_ = false;
};

}  // namespace sluice
