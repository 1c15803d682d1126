#include "jinja/sourced_text.h"

#include <algorithm>

namespace sluice::jinja {

void SourcedText::append(std::string_view text, bool trusted) {
    if (text.empty()) return;
    const bool last_trusted = first_trusted_ != (changes_.size() % 2 == 1);
    if (text_.empty()) {
        first_trusted_ = trusted;
    } else if (last_trusted != trusted) {
        changes_.push_back(text_.size());
    }
    text_ += text;
}

void SourcedText::append(const SourcedText& other, size_t begin, size_t size) {
    const auto first = std::upper_bound(other.changes_.begin(), other.changes_.end(), begin);
    bool trusted = other.first_trusted_ != ((first - other.changes_.begin()) % 2 == 1);
    const size_t end = begin + size;
    for (auto change = first; begin < end; ++change) {
        const size_t run_end = change == other.changes_.end() ? end : std::min(*change, end);
        append(std::string_view(other.text_).substr(begin, run_end - begin), trusted);
        begin = run_end;
        trusted = !trusted;
        if (change == other.changes_.end()) break;
    }
}

SourcedText SourcedText::part(size_t begin, size_t size) const {
    SourcedText piece;
    piece.append(*this, begin, size);
    return piece;
}

SourcedText SourcedText::part(std::string_view piece) const {
    return piece.empty() ? SourcedText() : part(static_cast<size_t>(piece.data() - text_.data()), piece.size());
}

void SourcedText::append_part(const SourcedText& other, std::string_view piece) {
    if (!piece.empty()) append(other, static_cast<size_t>(piece.data() - other.text_.data()), piece.size());
}

}  // namespace sluice::jinja
