#include "jinja/parser.h"

#include <algorithm>
#include <utility>

#include "jinja/expression_parser.h"
#include "jinja/token_stream.h"

namespace sluice::jinja {

namespace {

class Parser {
  public:
    explicit Parser(std::string_view source) : tokens_(tokenize(source)), expressions_(tokens_) {}

    Block run() { return block({}); }

  private:
    using Names = std::vector<std::string_view>;

    // Statements up to a tag that is one of `ends`, whose name is the next token then.
    Block block(const Names& ends) {
        Block body;
        while (!tokens_.at(TokenType::kEnd)) {
            const int line = tokens_.line();
            if (tokens_.at(TokenType::kData)) {
                body.push_back({line, TextStatement{tokens_.next().text}});
            } else if (tokens_.at(TokenType::kVariableBegin)) {
                tokens_.next();
                body.push_back({line, PrintStatement{expressions_.tuple(true)}});
                tokens_.expect(TokenType::kVariableEnd, "}}");
            } else {
                tokens_.expect(TokenType::kBlockBegin, "{%");
                const bool ended =
                    std::any_of(ends.begin(), ends.end(), [&](std::string_view name) { return tokens_.at_name(name); });
                if (ended) return body;
                statement(body, ends);
                tokens_.expect(TokenType::kBlockEnd, "%}");
            }
        }
        if (!ends.empty()) raise_at(tokens_.line(), "Unexpected end of template: {} is missing", one_of(ends));
        return body;
    }

    static std::string one_of(const Names& names) {
        std::string text;
        for (const std::string_view name : names) {
            text += text.empty() ? "'" : " or '";
            text += std::string(name) + "'";
        }
        return text;
    }

    // The body behind a tag's own "%}", up to its end tag, whose name is consumed.
    Block body_until(const Names& ends, std::string* found = nullptr) {
        tokens_.accept_operator(":");
        tokens_.expect(TokenType::kBlockEnd, "%}");
        Block body = block(ends);
        const std::string end = tokens_.next().text;
        if (found != nullptr) *found = end;
        return body;
    }

    void statement(Block& into, const Names& ends) {
        const Token& token = tokens_.expect(TokenType::kName, "a tag name");
        const std::string tag = token.text;
        const int line = token.line;
        const ParseLevel level(level_, line);
        if (tag == "print") return print(into, line);
        into.push_back({line, node(tag, line, ends)});
    }

    Statement::Node node(const std::string& tag, int line, const Names& ends) {
        if (tag == "for") return for_loop();
        if (tag == "if") return condition();
        if (tag == "set") return assignment();
        if (tag == "macro") return macro();
        if (tag == "call") return call_block(line);
        if (tag == "filter") return filter_block();
        if (tag == "with") return with();
        if (tag == "block") return named_block();
        if (tag == "autoescape") return autoescape(line);
        if (tag == "generation") return ScopeStatement{{}, hard_body({"endgeneration"}), false};
        if (tag == "break" || tag == "continue") {
            if (loops_ == 0) raise_at(line, "'{}' outside of a loop", tag);
            return LoopControlStatement{tag == "break"};
        }
        if (tag == "include" || tag == "import" || tag == "extends" || tag == "from") {
            while (!tokens_.at(TokenType::kBlockEnd) && !tokens_.at(TokenType::kEnd)) tokens_.next();
            return UnavailableStatement{tag};
        }
        if (ends.empty()) raise_at(line, "Encountered unknown tag '{}'", tag);
        raise_at(line, "Encountered unknown tag '{}'; looking for {}", tag, one_of(ends));
    }

    // A body of its own: an if outside does not make its unknown filters acceptable.
    Block hard_body(const Names& ends, std::string* found = nullptr) {
        const bool outer = std::exchange(expressions_.allow_unknown, false);
        Block body = body_until(ends, found);
        expressions_.allow_unknown = outer;
        return body;
    }

    void print(Block& into, int line) {
        while (!tokens_.at(TokenType::kBlockEnd)) {
            into.push_back({line, PrintStatement{expressions_.expression()}});
            if (!tokens_.accept_operator(",")) break;
        }
    }

    IfStatement condition() {
        const bool outer = std::exchange(expressions_.allow_unknown, true);
        IfStatement result;
        std::string end = "elif";
        while (end == "elif") {
            ExprPtr test = expressions_.tuple(false);
            Block body = body_until({"elif", "else", "endif"}, &end);
            result.branches.push_back({std::move(test), std::move(body)});
        }
        if (end == "else") result.otherwise = body_until({"endif"});
        expressions_.allow_unknown = outer;
        return result;
    }

    ForStatement for_loop() {
        ++loop_targets_;
        ForStatement result{target("in"), nullptr, nullptr, false, {}, {}};
        if (!tokens_.accept_name("in")) tokens_.expected("in");
        result.iterable = expressions_.tuple(false, "recursive");
        if (tokens_.accept_name("if")) result.condition = expressions_.expression();
        result.recursive = tokens_.accept_name("recursive");
        std::string end;
        ++loops_;
        result.body = hard_body({"endfor", "else"}, &end);
        --loops_;
        if (end == "else") result.otherwise = hard_body({"endfor"});
        --loop_targets_;
        return result;
    }

    Statement::Node assignment() {
        if (tokens_.at(TokenType::kName) && tokens_.at_operator(".", 1)) {
            Target place{tokens_.next().text, "", {}};
            tokens_.next();
            place.attribute = tokens_.expect(TokenType::kName, "a name").text;
            return assigned(std::move(place));
        }
        return assigned(target({}));
    }

    Statement::Node assigned(Target place) {
        if (tokens_.accept_operator("=")) return SetStatement{std::move(place), expressions_.tuple(true)};
        ExprPtr filter = expressions_.filters(nullptr, false);
        return CaptureStatement{std::move(place), std::move(filter), hard_body({"endset"})};
    }

    // Names with commas between them and parentheses around some of them.
    Target target(std::string_view end) {
        const ParseLevel level(level_, tokens_.line());
        Target several;
        bool is_tuple = false;
        auto at_end = [&] {
            return tokens_.at(TokenType::kBlockEnd) || tokens_.at_operator(")") || tokens_.at_operator("=") ||
                   (!end.empty() && tokens_.at_name(end));
        };
        while (several.items.empty() || !at_end()) {
            several.items.push_back(single_target());
            if (!tokens_.accept_operator(",")) break;
            is_tuple = true;
        }
        if (!is_tuple) return std::move(several.items[0]);
        return several;
    }

    Target single_target() {
        const int line = tokens_.line();
        if (tokens_.accept_operator("(")) {
            Target inner = target({});
            tokens_.expect_operator(")");
            return inner;
        }
        if (!tokens_.at(TokenType::kName)) raise_at(line, "can't assign to '{}'", tokens_.description());
        return {assignable_name(), "", {}};
    }

    std::string assignable_name() {
        const Token& token = tokens_.expect(TokenType::kName, "a name");
        static constexpr std::string_view kConstants[] = {"true", "True", "false", "False", "none", "None"};
        const bool constant =
            std::find(std::begin(kConstants), std::end(kConstants), token.text) != std::end(kConstants);
        if (constant) raise_at(token.line, "can't assign to '{}'", token.text);
        if (token.text == "loop" && loop_targets_ > 0) {
            raise_at(token.line, "Can't assign to special loop variable in for-loop target");
        }
        return token.text;
    }

    // The signature and the body, up to the end tag; `behind_signature` parses what stands between them.
    template <typename Between>
    MacroStatement macro_body(std::string name, std::string_view end, Between behind_signature) {
        MacroStatement result{std::move(name), {}, {}};
        const int outer_loops = std::exchange(loops_, 0);
        expressions_.begin_macro(result.signature);
        behind_signature();
        result.body = hard_body({end});
        expressions_.end_macro();
        loops_ = outer_loops;
        return result;
    }

    MacroStatement macro() {
        std::string name = assignable_name();
        if (!tokens_.at_operator("(")) tokens_.expected("(");
        return macro_body(std::move(name), "endmacro", [] {});
    }

    CallStatement call_block(int line) {
        ExprPtr call;
        MacroStatement caller = macro_body("caller", "endcall", [&] { call = expressions_.expression(); });
        if (!std::holds_alternative<CallExpr>(call->node)) raise_at(line, "expected call");
        return {std::move(call), std::move(caller)};
    }

    FilterStatement filter_block() {
        ExprPtr filter = expressions_.filters(nullptr, true);
        return {std::move(filter), hard_body({"endfilter"})};
    }

    ScopeStatement with() {
        ScopeStatement result{{}, {}, false};
        while (!tokens_.at(TokenType::kBlockEnd)) {
            Target place = target({});
            tokens_.expect_operator("=");
            result.variables.emplace_back(std::move(place), expressions_.expression());
            if (!tokens_.accept_operator(",")) break;
        }
        result.body = hard_body({"endwith"});
        return result;
    }

    ScopeStatement autoescape(int line) {
        const ExprPtr enabled = expressions_.expression();
        const auto* literal = std::get_if<LiteralExpr>(&enabled->node);
        const bool off = literal != nullptr && !truthy(literal->value);
        if (!off) raise_at(line, "autoescape can only be switched off: prompts are not HTML");
        return {{}, hard_body({"endautoescape"}), false};
    }

    ScopeStatement named_block() {
        const std::string name = tokens_.expect(TokenType::kName, "a name").text;
        const bool scoped = tokens_.accept_name("scoped");
        tokens_.accept_name("required");
        const int outer_loops = std::exchange(loops_, 0);
        ScopeStatement result{{}, hard_body({"endblock"}), !scoped};
        loops_ = outer_loops;
        tokens_.accept_name(name);
        return result;
    }

    TokenStream tokens_;
    ExpressionParser expressions_;
    int level_ = 0;
    int loops_ = 0;         // that a break would leave
    int loop_targets_ = 0;  // loops around, macros or not: none may have its `loop` replaced
};

}  // namespace

Block parse_template(std::string_view source) {
    return Parser(source).run();
}

}  // namespace sluice::jinja
