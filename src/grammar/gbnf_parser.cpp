#include "grammar/gbnf_parser.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "unicode/utf8.h"

namespace sluice::grammar {

namespace {

constexpr size_t kMaxBytes = size_t{4} << 20;

bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class GbnfParser {
  public:
    GbnfParser(std::string_view text, const GbnfTokens& tokens) : text_(text), tokens_(tokens) {}

    GbnfGrammar parse(const std::vector<std::string>& elsewhere) {
        if (text_.size() > kMaxBytes) fail(ErrorCode::kUsage, "the grammar is longer than {} bytes", kMaxBytes);
        if (!utf8::is_valid(text_)) fail(ErrorCode::kUsage, "the grammar is not valid UTF-8");
        for (const std::string& name : elsewhere) number(name);
        lines_.resize(grammar_.rules.size());
        for (skip(true); at_ < text_.size(); skip(true)) parse_rule(elsewhere.size());
        for (size_t i = elsewhere.size(); i < grammar_.rules.size(); ++i) {
            if (grammar_.rules[i].body != nullptr) continue;
            fail(ErrorCode::kUsage, "line {} of the grammar uses the rule `{}`, which is not defined", lines_[i],
                 grammar_.rules[i].name);
        }
        return std::move(grammar_);
    }

  private:
    [[noreturn]] void refuse(std::string_view problem) const {
        const auto line = 1 + std::ranges::count(text_.substr(0, std::min(at_, text_.size())), '\n');
        fail(ErrorCode::kUsage, "line {} of the grammar {}", line, problem);
    }

    char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
    bool take(std::string_view word) {
        if (!text_.substr(at_).starts_with(word)) return false;
        at_ += word.size();
        return true;
    }

    // White space and comments; line ends too where a rule goes on.
    void skip(bool lines) {
        while (at_ < text_.size()) {
            const char c = peek();
            if (c == '#') {
                at_ = std::min(text_.find('\n', at_), text_.size());
            } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
                ++at_;
            } else {
                return;
            }
        }
    }

    uint32_t number(const std::string& name) {
        const auto [at, fresh] = numbers_.try_emplace(name, static_cast<uint32_t>(grammar_.rules.size()));
        if (fresh) grammar_.rules.push_back({name});
        return at->second;
    }

    std::string parse_name() {
        const size_t begin = at_;
        while (is_name(peek())) ++at_;
        if (at_ == begin) refuse("has no rule where one must begin: NAME ::= ...");
        return std::string(text_.substr(begin, at_ - begin));
    }

    void parse_rule(size_t elsewhere) {
        const std::string name = parse_name();
        skip(false);
        if (!take("::=")) refuse("has no ::= after the name of a rule");
        skip(true);
        const uint32_t rule = number(name);
        if (rule < elsewhere || grammar_.rules[rule].body != nullptr)
            refuse(fmt::format("defines `{}` a second time", name));
        lines_.resize(grammar_.rules.size());
        ExpressionPointer body = parse_alternatives(0);
        if (at_ < text_.size() && peek() != '\n' && peek() != '\r') refuse("has something that begins no term");
        grammar_.rules[rule].body = std::move(body);
    }

    ExpressionPointer parse_alternatives(int depth) {
        if (depth > kDeepestGroup) refuse("has groups nested too deep");
        std::vector<ExpressionPointer> alternatives{parse_sequence(depth)};
        while (take_bar()) {
            skip(true);
            alternatives.push_back(parse_sequence(depth));
        }
        return alternatives_of(std::move(alternatives));
    }

    // Also one at the begin of the next line.
    bool take_bar() {
        const size_t before = at_;
        skip(true);
        if (take("|")) return true;
        at_ = before;
        return false;
    }

    ExpressionPointer parse_sequence(int depth) {
        std::vector<ExpressionPointer> parts;
        for (skip(depth > 0); at_ < text_.size(); skip(depth > 0)) {
            const char c = peek();
            if (c == '|' || c == ')' || c == '\n' || c == '\r') break;
            parts.push_back(parse_repeat(parse_term(depth)));
        }
        return sequence_of(std::move(parts));
    }

    ExpressionPointer parse_repeat(ExpressionPointer term) {
        while (true) {
            skip(false);
            if (take("*")) {
                term = repeat_of(std::move(term), 0, kUnbounded);
            } else if (take("+")) {
                term = repeat_of(std::move(term), 1, kUnbounded);
            } else if (take("?")) {
                term = repeat_of(std::move(term), 0, 1);
            } else if (take("{")) {
                const auto [min, max] = parse_bounds();
                term = repeat_of(std::move(term), min, max);
            } else {
                return term;
            }
        }
    }

    std::pair<uint32_t, uint32_t> parse_bounds() {
        skip(false);
        const uint32_t min = peek() == ',' ? 0 : parse_count();
        uint32_t max = min;
        skip(false);
        if (take(",")) {
            skip(false);
            max = peek() == '}' ? kUnbounded : parse_count();
            skip(false);
        }
        if (!take("}")) refuse("has no end of a repetition: {m}, {m,} or {m,n}");
        if (max < min) refuse("has a repetition whose maximum is below its minimum");
        return {min, max};
    }

    uint32_t parse_count() {
        const uint64_t value = parse_digits();
        if (value > kMostRepeats) refuse("has a repetition above 1000000000");
        return static_cast<uint32_t>(value);
    }

    uint64_t parse_digits() {
        uint64_t value = 0;
        const std::string_view rest = text_.substr(at_);
        const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
        if (error != std::errc()) refuse("has no number where one must stand");
        at_ += static_cast<size_t>(end - rest.data());
        return value;
    }

    ExpressionPointer parse_term(int depth) {
        if (take("\"")) return parse_literal();
        if (take("[")) return parse_class();
        if (take(".")) return chars_of(CharSet::all());
        if (take("<")) return parse_token();
        if (take("(")) {
            ExpressionPointer inner = parse_alternatives(depth + 1);
            skip(true);
            if (!take(")")) refuse("has no end of its group");
            return inner;
        }
        if (!is_name(peek())) refuse("has something that begins no term");
        const std::string name = parse_name();
        const uint32_t rule = number(name);
        if (rule >= lines_.size()) {
            lines_.resize(rule + 1);
            lines_[rule] = 1 + std::ranges::count(text_.substr(0, at_), '\n');
        }
        return leaf_of(Expression::Kind::kRule, rule);
    }

    ExpressionPointer parse_token() {
        if (take("[")) {
            const uint64_t id = parse_digits();
            if (!take("]>")) refuse("has no end of a token: <[id]>");
            if (!tokens_.has(id)) refuse("names a token outside the vocabulary");
            return leaf_of(Expression::Kind::kToken, static_cast<uint32_t>(id));
        }
        const size_t end = text_.find('>', at_);
        if (end == std::string_view::npos) refuse("has no end of a token: <name> or <[id]>");
        const std::string content(text_.substr(at_ - 1, end - at_ + 2));
        const std::optional<uint32_t> id = tokens_.find(content);
        if (!id) refuse(fmt::format("names the token {}, which the tokenizer has not", content));
        at_ = end + 1;
        return leaf_of(Expression::Kind::kToken, *id);
    }

    char32_t parse_character() {
        if (at_ >= text_.size() || peek() == '\n') refuse("has no end of a literal or a character class");
        if (!take("\\")) {
            const utf8::Decoded decoded = utf8::decode(text_, at_);
            at_ += decoded.length;
            return decoded.value;
        }
        const char c = peek();
        ++at_;
        switch (c) {
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case '\\':
            case '"':
            case '[':
            case ']':
            case '-':
            case '^':
            case '/':
                return static_cast<unsigned char>(c);
            case 'x':
                return parse_hex(2);
            case 'u':
                return parse_hex(4);
            case 'U':
                return parse_hex(8);
            default:
                refuse("has an unknown escape");
        }
    }

    char32_t parse_hex(size_t digits) {
        uint32_t value = 0;
        const std::string_view text = text_.substr(at_, digits);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
        if (error != std::errc() || text.size() < digits || end != text.data() + text.size() || value > 0x10FFFF) {
            refuse("has an escape with wrong hexadecimal digits");
        }
        at_ += digits;
        return value;
    }

    ExpressionPointer parse_literal() {
        std::string text;
        while (!take("\"")) utf8::append(text, parse_character());
        return tokens_.literal(text);
    }

    ExpressionPointer parse_class() {
        const bool negated = take("^");
        CharSet set;
        while (!take("]")) {
            const char32_t low = parse_character();
            char32_t high = low;
            if (peek() == '-' && peek(1) != ']') {
                ++at_;
                high = parse_character();
            }
            if (high < low) refuse("has a range out of order in its character class");
            set.add(low, high);
        }
        return chars_of(negated ? set.complement() : std::move(set));
    }

    std::string_view text_;
    const GbnfTokens& tokens_;
    size_t at_ = 0;
    GbnfGrammar grammar_;
    std::map<std::string, uint32_t> numbers_;
    std::vector<int64_t> lines_;  // of each rule, where it was used first
};

}  // namespace

std::optional<uint32_t> GbnfGrammar::find(std::string_view name) const {
    const auto at = std::ranges::find(rules, name, &Rule::name);
    if (at == rules.end()) return std::nullopt;
    return static_cast<uint32_t>(at - rules.begin());
}

GbnfGrammar parse_gbnf(std::string_view text, const GbnfTokens& tokens, const std::vector<std::string>& elsewhere) {
    return GbnfParser(text, tokens).parse(elsewhere);
}

}  // namespace sluice::grammar
