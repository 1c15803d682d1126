#include "text/pattern_translator.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "text/pattern_properties.h"
#include "text/tokenizer_field.h"
#include "unicode/utf8.h"

namespace sluice {

namespace {

constexpr int kDeepestClass = 32;
constexpr std::string_view kAnyCharacter = "(?s:.)";
// Word characters in a class are Unicode's. Outside, and for \b, Oniguruma adds the superscripts and fractions of
// Latin-1.
constexpr std::string_view kWordItems = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kWord = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]";
constexpr std::string_view kNoWord = "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]";
constexpr std::string_view kHexItems = "0-9a-fA-F";

// What a class, or one side of && in it, has gathered.
struct ClassItems {
    std::string simple;               // what PCRE2 takes between brackets
    std::vector<std::string> others;  // expressions of one character each that it does not

    std::string expression() const {
        if (others.empty()) return simple.empty() ? "(?!)" : "[" + simple + "]";
        std::string all = "(?:";
        if (!simple.empty()) all += "[" + simple + "]|";
        for (size_t i = 0; i < others.size(); ++i) all += (i == 0 ? "" : "|") + others[i];
        return all + ")";
    }
    std::string complement() const {
        if (others.empty() && !simple.empty()) return "[^" + simple + "]";
        return fmt::format("(?:(?!{}){})", expression(), kAnyCharacter);
    }
};

class Translator {
  public:
    Translator(std::string_view pattern, const std::string& place) : in_(pattern), place_(place) {}

    std::string run() {
        groups_.push_back({});
        while (at_ < in_.size()) step();
        if (groups_.size() > 1) unsupported("has an unclosed group");
        out_.append(groups_.back().scopes, ')');
        return std::move(out_);
    }

  private:
    struct Group {
        size_t begin = 0;   // in out_
        size_t scopes = 0;  // bare option settings such as (?i) that end with the group
    };

    [[noreturn]] void unsupported(std::string_view what) const {
        fail(ErrorCode::kUnsupported, "{} {} is a pattern that {}", place_, in_quotes(in_), what);
    }

    bool peek(std::string_view text) const { return in_.substr(at_).starts_with(text); }
    char next() {
        if (at_ == in_.size()) unsupported("ends too early");
        return in_[at_++];
    }
    std::string_view take_character() {
        const size_t length = std::min(utf8::length_from_lead(in_[at_]), in_.size() - at_);
        at_ += length;
        return in_.substr(at_ - length, length);
    }
    // The rest up to and including `close`.
    std::string_view take_through(char close) {
        const size_t end = in_.find(close, at_);
        if (end == std::string_view::npos) unsupported(fmt::format("lacks a '{}'", close));
        const std::string_view taken = in_.substr(at_, end + 1 - at_);
        at_ = end + 1;
        return taken;
    }

    void emit_item(std::string_view text) {
        item_ = out_.size();
        quantified_ = false;
        out_ += text;
    }
    void emit_between_items(std::string_view text) {
        item_.reset();
        out_ += text;
    }

    void step() {
        switch (in_[at_]) {
            case '\\':
                ++at_;
                return escape();
            case '[':
                ++at_;
                return emit_item(character_class(0));
            case '(':
                ++at_;
                return open_group();
            case ')':
                ++at_;
                return close_group();
            case '|':
                ++at_;
                return emit_between_items("|");
            case '*':
            case '+':
            case '?':
                return simple_quantifier();
            case '{':
                if (interval_quantifier()) return;
                ++at_;
                return emit_item("\\{");
            default:
                return emit_item(take_character());
        }
    }

    void open_group() {
        if (peek("*")) unsupported("uses callouts");
        if (!peek("?")) {
            groups_.push_back({out_.size()});
            return emit_between_items("(");
        }
        ++at_;
        if (peek("#")) {
            take_through(')');
            return;
        }
        for (const std::string_view kind : {":", "=", "!", ">", "<=", "<!"}) {
            if (!peek(kind)) continue;
            at_ += kind.size();
            groups_.push_back({out_.size()});
            return emit_between_items(fmt::format("(?{}", kind));
        }
        if (peek("<")) {
            groups_.push_back({out_.size()});
            return emit_between_items(fmt::format("(?{}", take_through('>')));
        }
        options();
    }

    // (?im-x: and (?im-x): Oniguruma's m is PCRE2's s, and a bare setting reaches to the end of its group, over |.
    void options() {
        std::string flags;
        char flag = next();
        for (; flag != ':' && flag != ')'; flag = next()) {
            if (flag != 'i' && flag != 'm' && flag != '-') unsupported("uses a group that is not supported");
            flags += flag == 'm' ? 's' : flag;
        }
        if (flag == ':') {
            groups_.push_back({out_.size()});
        } else {
            ++groups_.back().scopes;
        }
        emit_between_items(fmt::format("(?{}:", flags));
    }

    void close_group() {
        if (groups_.size() == 1) unsupported("has an unopened group");
        out_.append(groups_.back().scopes + 1, ')');
        item_ = groups_.back().begin;
        quantified_ = false;
        groups_.pop_back();
    }

    void begin_quantifier() {
        if (!item_) unsupported("repeats nothing");
        if (quantified_) wrap_item();  // PCRE2 takes one quantifier an item, or reads the second as possessive
        quantified_ = true;
    }
    void wrap_item() {
        out_.insert(*item_, "(?:");
        out_ += ')';
    }

    void simple_quantifier() {
        begin_quantifier();
        out_ += in_[at_++];
        if (peek("?") || peek("+")) out_ += in_[at_++];
    }

    bool interval_quantifier() {
        size_t end = at_ + 1;
        const auto digits = [&] {
            const size_t begin = end;
            while (end < in_.size() && std::isdigit(static_cast<unsigned char>(in_[end]))) ++end;
            return in_.substr(begin, end - begin);
        };
        const std::string_view low = digits();
        const bool range = end < in_.size() && in_[end] == ',';
        if (range) ++end;
        const std::string_view high = range ? digits() : low;
        if (end == in_.size() || in_[end] != '}' || (low.empty() && high.empty())) return false;
        at_ = end + 1;
        begin_quantifier();
        if (!range) {
            out_ += fmt::format("{{{}}}", low);
            return true;  // a following ? makes the whole optional, as any second quantifier would
        }
        out_ += fmt::format("{{{},{}}}", low.empty() ? "0" : low, high);
        if (peek("?")) out_ += in_[at_++];
        return true;
    }

    void escape() {
        const char kind = next();
        switch (kind) {
            case 's':
                return emit_item("\\p{White_Space}");
            case 'S':
                return emit_item("\\P{White_Space}");
            case 'w':
                return emit_item(kWord);
            case 'W':
                return emit_item(kNoWord);
            case 'h':
                return emit_item(fmt::format("[{}]", kHexItems));
            case 'H':
                return emit_item(fmt::format("[^{}]", kHexItems));
            case 'O':
                return emit_item(kAnyCharacter);
            case 'b':
                return emit_item(fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", kWord));
            case 'B':
                return emit_item(fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", kWord));
            case 'A':
            case 'z':
            case 'Z':
            case 'G':
            case 'K':
            case 'N':
            case 'R':
                return emit_item(std::string{'\\', kind});
            case 'k':
                if (!peek("<")) unsupported("has a back reference without a name");
                return emit_item(fmt::format("\\k{}", take_through('>')));
            default:
                return emit_item(std::isdigit(static_cast<unsigned char>(kind)) ? back_reference(kind)
                                                                                : character_escape(kind));
        }
    }

    std::string back_reference(char first) {
        std::string reference = {'\\', first};
        while (at_ < in_.size() && std::isdigit(static_cast<unsigned char>(in_[at_]))) reference += in_[at_++];
        return reference;
    }

    // Escapes that mean one character, or a property, inside a class and outside.
    std::string character_escape(char kind) {
        switch (kind) {
            case 'd':
                return "\\p{Nd}";
            case 'D':
                return "\\P{Nd}";
            case 't':
            case 'n':
            case 'r':
            case 'f':
            case 'a':
            case 'e':
                return {'\\', kind};
            case 'v':
                return "\\x0b";
            case 'p':
            case 'P':
                return property(kind == 'P');
            case 'x':
                return hexadecimal(peek("{") ? 0 : 2);
            case 'u':
                return hexadecimal(4);
            default:
                break;
        }
        if (std::isalnum(static_cast<unsigned char>(kind))) {
            unsupported(fmt::format("uses \\{}, which is not supported", kind));
        }
        if (static_cast<unsigned char>(kind) < 0x80) return {'\\', kind};
        --at_;
        return std::string(take_character());
    }

    // \x{...} where `digits` is 0, else exactly so many digits.
    std::string hexadecimal(size_t digits) {
        std::string_view number;
        if (digits == 0) {
            ++at_;
            number = take_through('}');
            number.remove_suffix(1);
        } else {
            number = in_.substr(at_, digits);
            at_ += number.size();
            if (number.size() < digits) unsupported("ends inside an escape");
        }
        const bool good = !number.empty() && number.size() <= 6 &&
                          std::all_of(number.begin(), number.end(), [](unsigned char c) { return std::isxdigit(c); });
        if (!good) unsupported("has a malformed hexadecimal escape");
        // Two digits above 7f are a raw byte there and a character here.
        if (digits == 2 && number[0] > '7') unsupported("spells UTF-8 in single bytes");
        return fmt::format("\\x{{{}}}", number);
    }

    std::string property(bool negated) {
        if (!peek("{")) unsupported("uses \\p without braces");
        ++at_;
        std::string_view name = take_through('}');
        name.remove_suffix(1);
        if (name.starts_with('^')) {
            negated = !negated;
            name.remove_prefix(1);
        }
        const std::optional<std::string> known = pcre2_property_name(name);
        if (!known) unsupported("names a malformed property");
        return fmt::format("\\{}{{{}}}", negated ? 'P' : 'p', *known);
    }

    // After '['. One PCRE2 expression that matches one character.
    std::string character_class(int depth) {
        bool negated = false;
        const ClassItems items = class_items(depth, negated);
        return negated ? items.complement() : items.expression();
    }

    ClassItems class_items(int depth, bool& negated) {
        if (depth == kDeepestClass) unsupported("nests classes too deeply");
        negated = peek("^");
        if (negated) ++at_;
        std::vector<ClassItems> sides(1);
        for (bool first = true;; first = false) {
            if (at_ == in_.size()) unsupported("has an unclosed class");
            if (peek("&&")) {
                at_ += 2;
                sides.emplace_back();
            } else if (peek("]") && !first) {
                ++at_;
                break;
            } else {
                class_item(depth, sides.back());
            }
        }
        if (sides.size() == 1) return std::move(sides[0]);
        std::string both = "(?:";
        for (size_t i = 1; i < sides.size(); ++i) both += fmt::format("(?={})", sides[i].expression());
        return {"", {both + sides[0].expression() + ")"}};
    }

    void class_item(int depth, ClassItems& items) {
        if (peek("[:") && posix_class(items)) return;
        const char c = next();
        if (c == '[') {
            bool negated = false;
            const ClassItems nested = class_items(depth + 1, negated);
            if (negated) {
                items.others.push_back(nested.complement());
            } else if (!nested.others.empty()) {
                items.others.push_back(nested.expression());
            } else {
                items.simple += nested.simple;
            }
        } else if (c == '\\') {
            class_escape(items);
        } else if (c == ']' || c == '^') {
            items.simple += {'\\', c};
        } else {
            --at_;
            items.simple += take_character();
        }
    }

    void class_escape(ClassItems& items) {
        const char kind = next();
        switch (kind) {
            case 's':
                items.simple += "\\p{White_Space}";
                return;
            case 'S':
                items.simple += "\\P{White_Space}";
                return;
            case 'w':
                items.simple += kWordItems;
                return;
            case 'h':
                items.simple += kHexItems;
                return;
            case 'W':
                items.others.push_back(fmt::format("[^{}]", kWordItems));
                return;
            case 'H':
                items.others.push_back(fmt::format("[^{}]", kHexItems));
                return;
            case 'b':
                items.simple += "\\x08";
                return;
            default:
                items.simple += character_escape(kind);
        }
    }

    bool posix_class(ClassItems& items) {
        const size_t end = in_.find(":]", at_);
        if (end == std::string_view::npos) return false;
        std::string_view name = in_.substr(at_ + 2, end - at_ - 2);
        const bool negated = name.starts_with('^');
        if (negated) name.remove_prefix(1);
        static const std::map<std::string_view, std::string_view> kKnown = {
            {"alpha", "\\p{Alphabetic}"}, {"digit", "\\p{Nd}"},  {"space", "\\p{White_Space}"},
            {"upper", "\\p{Uppercase}"},  {"punct", "\\p{P}"},   {"lower", "\\p{Lowercase}"},
            {"cntrl", "\\p{Cc}"},         {"xdigit", kHexItems}, {"alnum", "\\p{Alphabetic}\\p{Nd}"},
            {"word", kWordItems},
        };
        const auto known = kKnown.find(name);
        if (known == kKnown.end()) unsupported("uses a bracket class that is not supported");
        at_ = end + 2;
        if (negated) {
            items.others.push_back(fmt::format("[^{}]", known->second));
        } else {
            items.simple += known->second;
        }
        return true;
    }

    std::string_view in_;
    const std::string& place_;
    size_t at_ = 0;
    std::string out_;
    std::vector<Group> groups_;
    std::optional<size_t> item_;  // where in out_ the item begins that a quantifier would repeat
    bool quantified_ = false;     // and whether it has a quantifier already
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const std::string& place) {
    return Translator(pattern, place).run();
}

}  // namespace sluice
