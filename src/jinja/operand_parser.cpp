#include <algorithm>
#include <utility>

#include "jinja/expression_parser.h"

namespace sluice::jinja {

namespace {

ExprPtr constant(int line, Value value) {
    return std::make_unique<const Expr>(Expr{line, 1, LiteralExpr{std::move(value)}});
}

}  // namespace

ExprPtr ExpressionParser::primary() {
    const int line = tokens_.line();
    if (tokens_.at(TokenType::kName)) return name(tokens_.next());
    if (tokens_.at(TokenType::kNumber)) return constant(line, tokens_.next().number);
    if (tokens_.at(TokenType::kString)) {
        std::string text;
        while (tokens_.at(TokenType::kString)) text += tokens_.next().text;
        return constant(line, Value::string(SourcedText(std::move(text), true)));
    }
    if (tokens_.at_operator("(")) return parenthesized();
    if (tokens_.at_operator("[")) return list();
    if (tokens_.at_operator("{")) return dict();
    if (tokens_.at(TokenType::kEnd)) raise_at(line, "unexpected end of template");
    raise_at(line, "unexpected '{}'", tokens_.description());
}

ExprPtr ExpressionParser::name(const Token& token) {
    if (token.text == "true" || token.text == "True") return constant(token.line, Value::boolean(true));
    if (token.text == "false" || token.text == "False") return constant(token.line, Value::boolean(false));
    if (token.text == "none" || token.text == "None") return constant(token.line, Value::none());
    for (Signature* macro : macros_) {
        macro->uses_caller = macro->uses_caller || token.text == "caller";
        macro->uses_varargs = macro->uses_varargs || token.text == "varargs";
        macro->uses_kwargs = macro->uses_kwargs || token.text == "kwargs";
    }
    return make(token.line, NameExpr{token.text}, 0);
}

ExprPtr ExpressionParser::parenthesized() {
    const int line = tokens_.next().line;
    if (tokens_.accept_operator(")")) return make(line, ListExpr{{}, true}, 0);
    ExprPtr value = tuple(true);
    tokens_.expect_operator(")");
    return value;
}

ExprPtr ExpressionParser::list() {
    const int line = tokens_.next().line;
    std::vector<ExprPtr> items;
    while (!tokens_.at_operator("]")) {
        items.push_back(expression());
        if (!tokens_.accept_operator(",")) break;
    }
    tokens_.expect_operator("]");
    const int height = height_of(items);
    return make(line, ListExpr{std::move(items), false}, height);
}

ExprPtr ExpressionParser::dict() {
    const int line = tokens_.next().line;
    std::vector<std::pair<ExprPtr, ExprPtr>> entries;
    int height = 0;
    while (!tokens_.at_operator("}")) {
        ExprPtr key = expression();
        tokens_.expect_operator(":");
        ExprPtr value = expression();
        height = std::max({height, height_of(key), height_of(value)});
        entries.emplace_back(std::move(key), std::move(value));
        if (!tokens_.accept_operator(",")) break;
    }
    tokens_.expect_operator("}");
    return make(line, DictExpr{std::move(entries)}, height);
}

ExprPtr ExpressionParser::postfix(ExprPtr value) {
    while (true) {
        if (tokens_.at_operator(".")) {
            value = attribute(std::move(value));
        } else if (tokens_.at_operator("[")) {
            value = subscript(std::move(value));
        } else if (tokens_.at_operator("(")) {
            value = call(std::move(value));
        } else {
            return value;
        }
    }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr value) {
    while (true) {
        if (tokens_.at_operator("|")) {
            value = filters(std::move(value), false);
        } else if (tokens_.at_name("is")) {
            value = test(std::move(value));
        } else if (tokens_.at_operator("(")) {
            value = call(std::move(value));
        } else {
            return value;
        }
    }
}

std::string ExpressionParser::dotted_name() {
    std::string name = tokens_.expect(TokenType::kName, "a name").text;
    while (tokens_.accept_operator(".")) name += "." + tokens_.expect(TokenType::kName, "a name").text;
    return name;
}

ExprPtr ExpressionParser::filters(ExprPtr input, bool inside) {
    while (inside || tokens_.at_operator("|")) {
        if (!inside) tokens_.next();
        inside = false;
        const int line = tokens_.line();
        const std::string name = dotted_name();
        const Builtin* filter = find_filter(name);
        if (filter == nullptr && !allow_unknown) raise_at(line, "No filter named '{}'.", name);
        Arguments given = tokens_.at_operator("(") ? arguments() : Arguments{};
        const int height = std::max(height_of(input), height_of(given));
        input = make(line, FilterExpr{std::move(input), name, filter, std::move(given)}, height);
    }
    return input;
}

ExprPtr ExpressionParser::test(ExprPtr input) {
    const int line = tokens_.next().line;
    const bool negated = tokens_.accept_name("not");
    const std::string name = dotted_name();
    const Builtin* found = find_test(name);
    if (found == nullptr && !allow_unknown) raise_at(line, "No test named '{}'.", name);
    Arguments given;
    const bool keyword = tokens_.at_name("else") || tokens_.at_name("or") || tokens_.at_name("and");
    if (tokens_.at_operator("(")) {
        given = arguments();
    } else if (!keyword && (tokens_.at(TokenType::kName) || tokens_.at(TokenType::kString) ||
                            tokens_.at(TokenType::kNumber) || tokens_.at_operator("[") || tokens_.at_operator("{"))) {
        if (tokens_.at_name("is")) raise_at(tokens_.line(), "You cannot chain multiple tests with is");
        const ParseLevel level(level_, line);
        given.positional.push_back(postfix(primary()));
    }
    const int height = std::max(height_of(input), height_of(given));
    ExprPtr result = make(line, TestExpr{std::move(input), name, found, std::move(given)}, height);
    if (!negated) return result;
    return make(line, UnaryExpr{UnaryOp::kNot, std::move(result)}, height + 1);
}

ExprPtr ExpressionParser::attribute(ExprPtr object) {
    const int line = tokens_.next().line;
    const int height = height_of(object);
    if (tokens_.at(TokenType::kName)) {
        return make(line, AttributeExpr{std::move(object), tokens_.next().text}, height);
    }
    if (!tokens_.at(TokenType::kNumber) || !tokens_.peek().number.is(Kind::kInt)) {
        raise_at(line, "expected name or number, got '{}'", tokens_.description());
    }
    return make(line, ItemExpr{std::move(object), constant(line, tokens_.next().number)}, height);
}

ExprPtr ExpressionParser::subscript(ExprPtr object) {
    const int line = tokens_.next().line;
    if (tokens_.at_operator(":")) return sliced(std::move(object), nullptr, line);
    std::vector<ExprPtr> keys;
    while (!tokens_.at_operator("]")) {
        keys.push_back(expression());
        if (tokens_.at_operator(":") && keys.size() == 1) return sliced(std::move(object), std::move(keys[0]), line);
        if (!tokens_.accept_operator(",")) break;
    }
    tokens_.expect_operator("]");
    const int height = std::max(height_of(object), height_of(keys) + 1);
    ExprPtr key = keys.size() == 1 ? std::move(keys[0]) : make(line, ListExpr{std::move(keys), true}, height_of(keys));
    return make(line, ItemExpr{std::move(object), std::move(key)}, height);
}

ExprPtr ExpressionParser::sliced(ExprPtr object, ExprPtr start, int line) {
    tokens_.expect_operator(":");
    auto bound = [&]() -> ExprPtr {
        if (tokens_.at_operator(":") || tokens_.at_operator("]")) return nullptr;
        return expression();
    };
    ExprPtr stop = bound();
    ExprPtr step;
    if (tokens_.accept_operator(":")) step = bound();
    tokens_.expect_operator("]");
    const int height = std::max({height_of(object), height_of(start), height_of(stop), height_of(step)});
    return make(line, SliceExpr{std::move(object), std::move(start), std::move(stop), std::move(step)}, height);
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
    const int line = tokens_.line();
    Arguments given = arguments();
    const int height = std::max(height_of(callee), height_of(given));
    return make(line, CallExpr{std::move(callee), std::move(given)}, height);
}

Arguments ExpressionParser::arguments() {
    Arguments given;
    tokens_.expect_operator("(");
    while (!tokens_.at_operator(")")) {
        argument(given);
        if (!tokens_.accept_operator(",")) break;
    }
    tokens_.expect_operator(")");
    return given;
}

void ExpressionParser::argument(Arguments& into) {
    const int line = tokens_.line();
    auto require = [&](bool fits) {
        if (!fits) raise_at(line, "invalid syntax for function call expression");
    };
    if (tokens_.accept_operator("*")) {
        require(!into.spread && !into.keyword_spread);
        into.spread = expression();
    } else if (tokens_.accept_operator("**")) {
        require(!into.keyword_spread);
        into.keyword_spread = expression();
    } else if (tokens_.at(TokenType::kName) && tokens_.at_operator("=", 1)) {
        require(!into.keyword_spread);
        std::string name = tokens_.next().text;
        tokens_.next();
        into.keywords.emplace_back(std::move(name), expression());
    } else {
        require(!into.spread && !into.keyword_spread && into.keywords.empty());
        into.positional.push_back(expression());
    }
}

void ExpressionParser::begin_macro(Signature& signature) {
    macros_.push_back(&signature);
    if (!tokens_.accept_operator("(")) return;
    while (!tokens_.at_operator(")")) {
        const Token& parameter = tokens_.expect(TokenType::kName, "a parameter name");
        const int line = parameter.line;
        signature.parameters.push_back(parameter.text);
        if (tokens_.accept_operator("=")) {
            signature.defaults.push_back(expression());
        } else if (!signature.defaults.empty()) {
            raise_at(line, "non-default argument follows default argument");
        }
        if (!tokens_.accept_operator(",")) break;
    }
    tokens_.expect_operator(")");
}

void ExpressionParser::end_macro() {
    Signature& signature = *macros_.back();
    macros_.pop_back();
    auto is_parameter = [&](std::string_view name) {
        return std::find(signature.parameters.begin(), signature.parameters.end(), name) != signature.parameters.end();
    };
    const auto required = signature.parameters.end() - static_cast<std::ptrdiff_t>(signature.defaults.size());
    if (signature.uses_caller && std::find(signature.parameters.begin(), required, "caller") != required) {
        raise_at(tokens_.line(), "the special \"caller\" argument must be omitted or be given a default");
    }
    signature.uses_caller = signature.uses_caller && !is_parameter("caller");
    signature.uses_varargs = signature.uses_varargs && !is_parameter("varargs");
    signature.uses_kwargs = signature.uses_kwargs && !is_parameter("kwargs");
}

}  // namespace sluice::jinja
