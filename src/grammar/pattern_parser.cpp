#include "grammar/pattern_parser.h"

#include <optional>
#include <string>

#include "base/error.h"
#include "grammar/char_automaton.h"
#include "grammar/unicode_property.h"
#include "unicode/utf8.h"

namespace sluice::grammar {

namespace {

const CharSet& digits() {
    static const CharSet set{{'0', '9'}};
    return set;
}
const CharSet& word_characters() {
    static const CharSet set{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    return set;
}
const CharSet& spaces() {
    static const CharSet set{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                             {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    return set;
}
const CharSet& line_ends() {
    static const CharSet set{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    return set;
}

std::optional<uint32_t> hex_value(char32_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return std::nullopt;
}

class PatternParser {
  public:
    explicit PatternParser(std::string_view pattern) : text_(to_characters(pattern)) {}

    ExpressionPointer parse() {
        ExpressionPointer result = parse_alternatives(0);
        if (!at_end()) refuse("has a `)` without its `(`");
        return result;
    }

  private:
    [[noreturn]] void refuse(std::string_view problem) const {
        fail(ErrorCode::kUsage, "{} at character {}", problem, at_ + 1);
    }

    bool at_end() const { return at_ >= text_.size(); }
    char32_t peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : 0; }
    bool take(char32_t c) {
        if (at_end() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    ExpressionPointer parse_alternatives(int depth) {
        if (depth > kDeepestGroup) refuse("has groups nested too deep");
        std::vector<ExpressionPointer> alternatives;
        do {
            std::vector<ExpressionPointer> terms;
            while (!at_end() && peek() != '|' && peek() != ')') terms.push_back(parse_term(depth));
            alternatives.push_back(sequence_of(std::move(terms)));
        } while (take('|'));
        return alternatives_of(std::move(alternatives));
    }

    ExpressionPointer parse_term(int depth) {
        if (take('^')) return refuse_quantifier(leaf_of(Expression::Kind::kBegin));
        if (take('$')) return refuse_quantifier(leaf_of(Expression::Kind::kEnd));
        ExpressionPointer atom = parse_atom(depth);
        if (const std::optional<std::pair<uint32_t, uint32_t>> bounds = parse_quantifier()) {
            take('?');  // a lazy one matches the same texts
            atom = repeat_of(std::move(atom), bounds->first, bounds->second);
            if (peek() == '*' || peek() == '+' || peek() == '?') refuse("has nothing to repeat");
        }
        return atom;
    }

    ExpressionPointer refuse_quantifier(ExpressionPointer anchor) const {
        if (!at_end() && (peek() == '*' || peek() == '+' || peek() == '?')) refuse("repeats an anchor");
        return anchor;
    }

    std::optional<std::pair<uint32_t, uint32_t>> parse_quantifier() {
        if (take('*')) return {{0, kUnbounded}};
        if (take('+')) return {{1, kUnbounded}};
        if (take('?')) return {{0, 1}};
        if (peek() != '{') return std::nullopt;
        const size_t begin = at_++;
        const std::optional<uint32_t> min = parse_number();
        std::optional<uint32_t> max = min;
        if (min && take(',')) max = peek() == '}' ? kUnbounded : parse_number();
        if (!min || !max || !take('}')) {
            at_ = begin;  // a brace that stands for itself
            return std::nullopt;
        }
        if (*max < *min) refuse("has a quantifier whose maximum is below its minimum");
        return {{*min, *max}};
    }

    std::optional<uint32_t> parse_number() {
        uint64_t value = 0;
        const size_t begin = at_;
        for (; peek() >= '0' && peek() <= '9'; ++at_) {
            value = value * 10 + (peek() - '0');
            if (value > kMostRepeats) refuse("has a quantifier above 1000000000");
        }
        if (at_ == begin) return std::nullopt;
        return static_cast<uint32_t>(value);
    }

    ExpressionPointer parse_atom(int depth) {
        if (take('(')) return parse_group(depth);
        if (take('[')) return chars_of(parse_class());
        if (take('.')) return chars_of(line_ends().complement());
        if (take('\\')) return parse_escape();
        if (peek() == '*' || peek() == '+' || peek() == '?') refuse("has nothing to repeat");
        const char32_t c = text_[at_++];
        return chars_of({{c, c}});
    }

    ExpressionPointer parse_group(int depth) {
        if (take('?')) {
            if (peek() == '=' || peek() == '!') refuse("has a lookahead, which is not supported,");
            if (take('<')) {
                if (peek() == '=' || peek() == '!') refuse("has a lookbehind, which is not supported,");
                while (!at_end() && !take('>')) ++at_;
            } else if (!take(':')) {
                refuse("has an unknown kind of group");
            }
        }
        ExpressionPointer inner = parse_alternatives(depth + 1);
        if (!take(')')) refuse("has no end of its group");
        return inner;
    }

    ExpressionPointer parse_escape() {
        const char32_t c = peek();
        if (c == 'b' || c == 'B') refuse("has a word boundary, which is not supported,");
        if ((c >= '1' && c <= '9') || c == 'k') refuse("has a back reference, which is not supported,");
        CharSet set;
        if (!parse_class_escape(set)) {
            const char32_t one = parse_character_escape();
            set.add(one, one);
        }
        return chars_of(std::move(set));
    }

    // \d and its like: true, and the set is larger.
    bool parse_class_escape(CharSet& set) {
        switch (peek()) {
            case 'd':
                set.add(digits());
                break;
            case 'D':
                set.add(digits().complement());
                break;
            case 'w':
                set.add(word_characters());
                break;
            case 'W':
                set.add(word_characters().complement());
                break;
            case 's':
                set.add(spaces());
                break;
            case 'S':
                set.add(spaces().complement());
                break;
            case 'p':
            case 'P':
                set.add(parse_property());
                return true;
            default:
                return false;
        }
        ++at_;
        return true;
    }

    CharSet parse_property() {
        const bool negated = text_[at_++] == 'P';
        std::string name;
        if (!take('{')) refuse("has a \\p without its {name}");
        while (!at_end() && peek() != '}') utf8::append(name, text_[at_++]);
        if (!take('}')) refuse("has a \\p without its {name}");
        const std::optional<CharSet> set = general_category(name);
        if (!set) refuse("has a \\p of something else than a general category, which is not supported,");
        return negated ? set->complement() : *set;
    }

    char32_t parse_character_escape() {
        if (at_end()) refuse("ends in a backslash");
        const char32_t c = text_[at_++];
        switch (c) {
            case 't':
                return '\t';
            case 'n':
                return '\n';
            case 'v':
                return '\v';
            case 'f':
                return '\f';
            case 'r':
                return '\r';
            case '0':
                return 0;
            case 'x':
                return parse_hex(2);
            case 'u':
                return parse_unicode_escape();
            case 'c': {
                const char32_t letter = peek() | 0x20;
                if (letter < 'a' || letter > 'z') refuse("has a \\c without its letter");
                return text_[at_++] & 0x1F;
            }
            default:
                break;
        }
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
            refuse("has an escape that means nothing");
        }
        return c;
    }

    char32_t parse_unicode_escape() {
        if (take('{')) {
            char32_t value = 0;
            while (const std::optional<uint32_t> digit = hex_value(peek())) {
                value = value * 16 + *digit;
                ++at_;
                if (value > 0x10FFFF) refuse("has a character above U+10FFFF");
            }
            if (!take('}')) refuse("has no end of its \\u{");
            return value;
        }
        const char32_t high = parse_hex(4);
        if (high >= 0xD800 && high <= 0xDBFF && peek() == '\\' && peek(1) == 'u') {
            at_ += 2;
            const char32_t low = parse_hex(4);
            if (low < 0xDC00 || low > 0xDFFF) refuse("has half a surrogate pair");
            return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        }
        return high;
    }

    char32_t parse_hex(int count) {
        char32_t value = 0;
        for (int i = 0; i < count; ++i, ++at_) {
            const std::optional<uint32_t> digit = hex_value(peek());
            if (!digit) refuse("has an escape with too few hexadecimal digits");
            value = value * 16 + *digit;
        }
        return value;
    }

    CharSet parse_class() {
        const bool negated = take('^');
        CharSet set;
        while (!take(']')) {
            if (at_end()) refuse("has no end of its character class");
            const std::optional<char32_t> low = parse_class_atom(set);
            if (peek() != '-' || peek(1) == ']' || at_ + 1 >= text_.size()) {
                if (low) set.add(*low, *low);
                continue;
            }
            ++at_;
            const std::optional<char32_t> high = parse_class_atom(set);
            if (low && high) {
                if (*high < *low) refuse("has a range out of order in its character class");
                set.add(*low, *high);
            } else {
                // A class beside the hyphen: all three stand for themselves.
                set.add('-', '-');
                for (const std::optional<char32_t>& one : {low, high}) {
                    if (one) set.add(*one, *one);
                }
            }
        }
        return negated ? set.complement() : set;
    }

    // One character, or nothing where it was a class, which is in the set by now.
    std::optional<char32_t> parse_class_atom(CharSet& set) {
        if (at_end()) refuse("has no end of its character class");
        if (!take('\\')) return text_[at_++];
        if (take('b')) return '\b';
        if (parse_class_escape(set)) return std::nullopt;
        return parse_character_escape();
    }

    std::u32string text_;
    size_t at_ = 0;
};

}  // namespace

ExpressionPointer parse_pattern(std::string_view pattern) {
    return PatternParser(pattern).parse();
}

}  // namespace sluice::grammar
