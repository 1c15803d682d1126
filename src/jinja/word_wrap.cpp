#include <algorithm>
#include <array>
#include <deque>

#include "jinja/failure.h"
#include "jinja/filters.h"
#include "jinja/operations.h"
#include "jinja/render.h"
#include "jinja/string_functions.h"
#include "jinja/unicode.h"
#include "unicode/utf8.h"

namespace sluice::jinja {

namespace {

using Points = std::u32string;

Points points_of(std::string_view text) {
    Points points;
    for (size_t at = 0; at < text.size();) points += next_code_point(text, at);
    return points;
}

bool is_gap(char32_t point) {
    return point == U' ' || (point >= U'\t' && point <= U'\r');
}

bool is_letter(char32_t point) {
    return is_word(point) && !is_decimal(point);
}

// Cuts a line where Python's textwrap may break it: at white space, after the hyphen of a compound, around a dash.
class Pieces {
  public:
    Pieces(const Points& line, bool at_hyphens) : line_(line), at_hyphens_(at_hyphens) {}

    std::deque<Points> take() {
        std::deque<Points> pieces;
        for (size_t begin = 0; begin < line_.size();) {
            const size_t end = end_of(begin);
            pieces.push_back(line_.substr(begin, end - begin));
            begin = end;
        }
        return pieces;
    }

  private:
    char32_t at(size_t index) const { return index < line_.size() ? line_[index] : U' '; }
    bool gap(size_t index) const { return index >= line_.size() || is_gap(line_[index]); }
    bool letter(size_t index) const { return index < line_.size() && is_letter(line_[index]); }
    bool ends_word(size_t index) const {  // a character after which a dash is one between words
        return is_word(line_[index]) || Points(U"!\"'&.,?").find(line_[index]) != Points::npos;
    }
    // Two hyphens or more with a word behind them: where they end, or `index`.
    size_t dash_end(size_t index) const {
        size_t end = index;
        while (at(end) == U'-') ++end;
        return end >= index + 2 && end < line_.size() && is_word(line_[end]) ? end : index;
    }
    bool breaks_at_hyphen(size_t index) const {
        if (at(index) != U'-') return false;
        const bool two_letters = index >= 2 && letter(index - 1) && letter(index - 2);
        const bool compound = index >= 3 && letter(index - 3) && at(index - 2) == U'-' && ends_word(index - 1);
        const size_t next = at(index + 2) == U'-' ? index + 3 : index + 2;
        return (two_letters || compound) && letter(index + 1) && (letter(next) || letter(index + 2));
    }

    size_t end_of(size_t begin) const {
        size_t end = begin;
        if (is_gap(line_[begin])) {
            while (end < line_.size() && is_gap(line_[end])) ++end;
            return end;
        }
        if (!at_hyphens_) {
            while (!gap(end)) ++end;
            return end;
        }
        if (begin > 0 && ends_word(begin - 1) && dash_end(begin) > begin) return dash_end(begin);
        for (end = begin + 1;; ++end) {
            if (breaks_at_hyphen(end)) return end + 1;
            if (gap(end)) return end;
            if (ends_word(end - 1) && dash_end(end) > end) return end;
        }
    }

    const Points& line_;
    bool at_hyphens_;
};

struct WrapStyle {
    size_t width;
    bool break_long_words;
    bool break_on_hyphens;
};

bool is_blank(const Points& piece) {
    return std::ranges::all_of(piece, is_space);
}

// Puts what there is room for of a piece that is wider than a line on the current one.
void break_piece(std::deque<Points>& pieces, Points& line, const WrapStyle& style) {
    Points& piece = pieces.front();
    if (!style.break_long_words) {
        if (!line.empty()) return;
        line = std::move(piece);
        pieces.pop_front();
        return;
    }
    const size_t room = style.width - line.size();
    size_t end = room;
    if (style.break_on_hyphens && piece.size() > room && room > 0) {
        const size_t hyphen = piece.rfind(U'-', room - 1);
        const bool inside = hyphen != Points::npos && hyphen > 0;
        if (inside && piece.find_first_not_of(U'-') < hyphen) end = hyphen + 1;
    }
    line += piece.substr(0, end);
    piece.erase(0, end);
}

std::vector<std::string> wrap(const Points& text, const WrapStyle& style) {
    std::vector<std::string> lines;
    std::deque<Points> pieces = Pieces(text, style.break_on_hyphens).take();
    while (!pieces.empty()) {
        Points line;
        size_t last = 0;  // where the last piece of the line begins
        if (is_blank(pieces.front()) && !lines.empty()) pieces.pop_front();
        while (!pieces.empty() && line.size() + pieces.front().size() <= style.width) {
            last = line.size();
            line += pieces.front();
            pieces.pop_front();
        }
        if (!pieces.empty() && pieces.front().size() > style.width) {
            const size_t before = line.size();
            break_piece(pieces, line, style);
            if (style.break_long_words || line.size() > before) last = before;
        }
        if (is_blank(line.substr(last))) line.resize(last);
        if (line.empty()) continue;
        std::string& out = lines.emplace_back();
        for (const char32_t point : line) utf8::append(out, point);
    }
    return lines;
}

Value word_wrap(const Bound& arguments) {
    const TextOf text(arguments[0]);
    charge_items(text.get().size());
    const int64_t width = arguments.integer(1, 79);
    if (width <= 0) raise("invalid width {} (must be > 0)", width);
    const WrapStyle style{.width = static_cast<size_t>(width),
                          .break_long_words = arguments.flag(2, true),
                          .break_on_hyphens = arguments.flag(4, true)};
    const std::string separator = arguments.absent(3) ? "\n" : arguments.text(3, "\n");
    std::string out;
    bool first = true;
    for (const std::string_view line : split_lines(text.get(), false)) {
        std::string wrapped;
        for (const std::string& part : wrap(points_of(line), style)) {
            if (!wrapped.empty()) wrapped += separator;
            wrapped += part;
        }
        require_room(out.size() + wrapped.size());
        if (!first) out += separator;
        first = false;
        out += wrapped;
    }
    return Value::string(std::move(out));
}

constexpr std::array kWrapFilters = std::to_array<Builtin>({
    {"wordwrap", "s width? break_long_words? wrapstring? break_on_hyphens?", word_wrap},
});

}  // namespace

std::span<const Builtin> wrap_filters() {
    return kWrapFilters;
}

}  // namespace sluice::jinja
