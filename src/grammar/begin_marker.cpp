#include "grammar/begin_marker.h"

namespace sluice::grammar {

BeginMarker::BeginMarker(std::string text, const Vocabulary& vocabulary)
    : text_(std::move(text)),
      fallback_(text_.size() + 1),
      free_((vocabulary.size() + 63) / 64),
      completions_(text_.size()) {
    for (size_t i = 1; i < text_.size(); ++i) {
        size_t shorter = fallback_[i];
        while (shorter > 0 && text_[shorter] != text_[i]) shorter = fallback_[shorter];
        fallback_[i + 1] = text_[shorter] == text_[i] ? shorter + 1 : 0;
    }
    for (size_t i = 0; i < vocabulary.size(); ++i) {
        const auto id = static_cast<TokenId>(i);
        const std::string_view token = vocabulary.text(id);
        if (token.empty() || vocabulary.ends(id)) continue;
        free_[i / 64] |= uint64_t{1} << (i % 64);
        if (token.find(text_.back()) >= token.size() - 1) continue;
        for (size_t matched = 0; matched < text_.size(); ++matched) {
            const Progress progress = advance(matched, token);
            if (progress.complete && !progress.rest.empty()) completions_[matched].push_back({id, progress.rest});
        }
    }
}

BeginMarker::Progress BeginMarker::advance(size_t matched, std::string_view text) const {
    for (size_t i = 0; i < text.size(); ++i) {
        while (matched > 0 && text_[matched] != text[i]) matched = fallback_[matched];
        if (text_[matched] == text[i]) ++matched;
        if (matched == text_.size()) return {.matched = matched, .complete = true, .rest = text.substr(i + 1)};
    }
    return {.matched = matched};
}

}  // namespace sluice::grammar
