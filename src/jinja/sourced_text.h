#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::jinja {

// A text, and who wrote which of its bytes: the template (trusted), or the variables it is rendered with.
class SourcedText {
  public:
    SourcedText() = default;
    explicit SourcedText(std::string text, bool trusted = false) : text_(std::move(text)), first_trusted_(trusted) {}

    const std::string& text() const { return text_; }
    size_t size() const { return text_.size(); }
    bool empty() const { return text_.empty(); }
    // What it takes in memory, for the limits of a rendering.
    size_t bytes() const { return text_.size() + changes_.size() * sizeof(size_t); }

    // Whether all of it is the template's.
    bool trusted() const { return first_trusted_ && changes_.empty(); }

    void append(std::string_view text, bool trusted);
    void append(const SourcedText& other) { append(other, 0, other.size()); }
    void append(const SourcedText& other, size_t begin, size_t size);
    SourcedText part(size_t begin, size_t size) const;
    // `piece` is a view of this text (or empty).
    SourcedText part(std::string_view piece) const;
    void append_part(const SourcedText& other, std::string_view piece);

    // Calls visit(std::string_view run, bool trusted) for each run of one source.
    template <typename Visit>
    void for_each_run(Visit visit) const {
        size_t begin = 0;
        bool trusted = first_trusted_;
        for (size_t i = 0; i <= changes_.size() && begin < text_.size(); ++i) {
            const size_t end = i < changes_.size() ? changes_[i] : text_.size();
            visit(std::string_view(text_).substr(begin, end - begin), trusted);
            begin = end;
            trusted = !trusted;
        }
    }

  private:
    std::string text_;
    bool first_trusted_ = false;   // the run at the beginning
    std::vector<size_t> changes_;  // where the source changes, ascending, inside the text
};

}  // namespace sluice::jinja
