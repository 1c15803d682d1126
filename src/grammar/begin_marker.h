#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/vocabulary.h"

namespace sluice::grammar {

// The text after which a grammar holds, looked for in a stream of tokens.
class BeginMarker {
  public:
    BeginMarker(std::string text, const Vocabulary& vocabulary);

    // How much of the marker the text ended with, and ends with after more text; where the marker is complete, the rest
    // of the text is behind it.
    struct Progress {
        size_t matched = 0;
        bool complete = false;
        std::string_view rest = {};
    };
    Progress advance(size_t matched, std::string_view text) const;

    // All tokens that add text or stand for themselves, but for those that end an answer.
    std::span<const uint64_t> free_tokens() const { return free_; }
    // Those that complete the marker and go on behind it, when so much of it was there.
    struct Completion {
        TokenId token;
        std::string_view rest;
    };
    const std::vector<Completion>& completions(size_t matched) const { return completions_[matched]; }

  private:
    std::string text_;
    std::vector<size_t> fallback_;  // by matched length: the longest shorter match that it ends with
    std::vector<uint64_t> free_;
    std::vector<std::vector<Completion>> completions_;
};

}  // namespace sluice::grammar
