#include "sluice/stop_matcher.h"

#include <algorithm>

namespace sluice {

namespace {

// Length of the longest end of `text` that is a proper beginning of `pattern`.
size_t overlap(const std::string& text, const std::string& pattern) {
    for (size_t n = std::min(text.size(), pattern.size() - 1); n > 0; --n) {
        if (text.compare(text.size() - n, n, pattern, 0, n) == 0) return n;
    }
    return 0;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stop) : stop_(std::move(stop)) {
    std::erase_if(stop_, [](const std::string& s) { return s.empty(); });
}

std::string StopMatcher::take(size_t bytes) {
    std::string taken;
    for (size_t i = 0; i < bytes; ++i) {
        if (shown_[i] != 0) taken += held_[i];
    }
    held_.erase(0, bytes);
    shown_.erase(0, bytes);
    return taken;
}

std::string StopMatcher::push(const std::string& text, bool shown) {
    if (stopped_) return {};
    held_ += text;
    shown_.append(text.size(), shown ? 1 : 0);
    size_t first = std::string::npos;
    size_t keep = 0;
    for (const std::string& s : stop_) {
        if (const size_t at = held_.find(s); at < first) {
            first = at;
            found_ = s;
        }
        keep = std::max(keep, overlap(held_, s));
    }
    if (first != std::string::npos) {
        stopped_ = true;
        return take(first);
    }
    return take(held_.size() - keep);
}

std::string StopMatcher::finish(const std::string& text) {
    const std::string certain = push(text);
    return stopped_ ? certain : certain + take(held_.size());
}

}  // namespace sluice
