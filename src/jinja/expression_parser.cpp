#include "jinja/expression_parser.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace sluice::jinja {

namespace {

constexpr int kMaxHeight = 300;

}  // namespace

ExprPtr ExpressionParser::make(int line, Expr::Node node, int height_below) {
    if (height_below >= kMaxHeight) raise_at(line, "an expression of more than {} levels", kMaxHeight);
    return std::make_unique<const Expr>(Expr{line, height_below + 1, std::move(node)});
}

ExprPtr ExpressionParser::expression(bool with_condition) {
    const ParseLevel level(level_, tokens_.line());
    return with_condition ? conditional() : disjunction();
}

ExprPtr ExpressionParser::tuple(bool with_condition, std::string_view end) {
    const int line = tokens_.line();
    std::vector<ExprPtr> items;
    bool is_tuple = false;
    auto at_end = [&] {
        return tokens_.at(TokenType::kVariableEnd) || tokens_.at(TokenType::kBlockEnd) || tokens_.at_operator(")") ||
               (!end.empty() && tokens_.at_name(end));
    };
    while (!at_end()) {
        items.push_back(expression(with_condition));
        if (!tokens_.accept_operator(",")) break;
        is_tuple = true;
    }
    if (!is_tuple && items.size() == 1) return std::move(items[0]);
    if (!is_tuple) raise_at(line, "Expected an expression, got '{}'", tokens_.description());
    const int height = height_of(items);
    return make(line, ListExpr{std::move(items), true}, height);
}

ExprPtr ExpressionParser::conditional() {
    const int line = tokens_.line();
    ExprPtr value = disjunction();
    while (tokens_.accept_name("if")) {
        const bool outer = std::exchange(allow_unknown, true);
        ExprPtr condition = disjunction();
        ExprPtr otherwise;
        if (tokens_.accept_name("else")) {
            const ParseLevel level(level_, tokens_.line());
            otherwise = conditional();
        }
        allow_unknown = outer;
        const int height = std::max({height_of(condition), height_of(value), height_of(otherwise)});
        value = make(line, ConditionalExpr{std::move(condition), std::move(value), std::move(otherwise)}, height);
    }
    return value;
}

ExprPtr ExpressionParser::disjunction() {
    ExprPtr left = conjunction();
    while (tokens_.at_name("or")) {
        const int line = tokens_.next().line;
        ExprPtr right = conjunction();
        const int height = std::max(height_of(left), height_of(right));
        left = make(line, LogicalExpr{false, std::move(left), std::move(right)}, height);
    }
    return left;
}

ExprPtr ExpressionParser::conjunction() {
    ExprPtr left = negation();
    while (tokens_.at_name("and")) {
        const int line = tokens_.next().line;
        ExprPtr right = negation();
        const int height = std::max(height_of(left), height_of(right));
        left = make(line, LogicalExpr{true, std::move(left), std::move(right)}, height);
    }
    return left;
}

ExprPtr ExpressionParser::negation() {
    if (!tokens_.at_name("not")) return comparison();
    const int line = tokens_.next().line;
    const ParseLevel level(level_, line);
    ExprPtr operand = negation();
    const int height = height_of(operand);
    return make(line, UnaryExpr{UnaryOp::kNot, std::move(operand)}, height);
}

ExprPtr ExpressionParser::comparison() {
    const int line = tokens_.line();
    ExprPtr first = sum();
    std::vector<std::pair<CompareOp, ExprPtr>> rest;
    auto accept = [&]() -> std::optional<CompareOp> {
        static constexpr std::pair<std::string_view, CompareOp> kSymbols[] = {
            {"==", CompareOp::kEqual},     {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
            {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater},   {">=", CompareOp::kGreaterEqual}};
        for (const auto& [symbol, op] : kSymbols) {
            if (tokens_.accept_operator(symbol)) return op;
        }
        if (tokens_.accept_name("in")) return CompareOp::kIn;
        if (!tokens_.at_name("not") || !tokens_.at_name("in", 1)) return std::nullopt;
        tokens_.next();
        tokens_.next();
        return CompareOp::kNotIn;
    };
    int height = height_of(first);
    while (const std::optional<CompareOp> op = accept()) {
        rest.emplace_back(*op, sum());
        height = std::max(height, height_of(rest.back().second));
    }
    if (rest.empty()) return first;
    return make(line, CompareExpr{std::move(first), std::move(rest)}, height);
}

ExprPtr ExpressionParser::sum() {
    ExprPtr left = concatenation();
    while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
        const Token& token = tokens_.next();
        const Arithmetic op = token.text == "+" ? Arithmetic::kAdd : Arithmetic::kSubtract;
        const int line = token.line;
        ExprPtr right = concatenation();
        const int height = std::max(height_of(left), height_of(right));
        left = make(line, ArithmeticExpr{op, std::move(left), std::move(right)}, height);
    }
    return left;
}

ExprPtr ExpressionParser::concatenation() {
    const int line = tokens_.line();
    std::vector<ExprPtr> parts;
    parts.push_back(product());
    while (tokens_.accept_operator("~")) parts.push_back(product());
    if (parts.size() == 1) return std::move(parts[0]);
    const int height = height_of(parts);
    return make(line, ConcatExpr{std::move(parts)}, height);
}

ExprPtr ExpressionParser::product() {
    static constexpr std::pair<std::string_view, Arithmetic> kSymbols[] = {{"*", Arithmetic::kMultiply},
                                                                           {"/", Arithmetic::kDivide},
                                                                           {"//", Arithmetic::kFloorDivide},
                                                                           {"%", Arithmetic::kModulo}};
    ExprPtr left = power();
    while (true) {
        const auto* symbol = std::find_if(std::begin(kSymbols), std::end(kSymbols),
                                          [&](const auto& entry) { return tokens_.at_operator(entry.first); });
        if (symbol == std::end(kSymbols)) return left;
        const int line = tokens_.next().line;
        ExprPtr right = power();
        const int height = std::max(height_of(left), height_of(right));
        left = make(line, ArithmeticExpr{symbol->second, std::move(left), std::move(right)}, height);
    }
}

ExprPtr ExpressionParser::power() {
    ExprPtr left = signed_operand(true);
    while (tokens_.at_operator("**")) {
        const int line = tokens_.next().line;
        ExprPtr right = signed_operand(true);
        const int height = std::max(height_of(left), height_of(right));
        left = make(line, ArithmeticExpr{Arithmetic::kPower, std::move(left), std::move(right)}, height);
    }
    return left;
}

ExprPtr ExpressionParser::signed_operand(bool with_filters) {
    ExprPtr value;
    if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
        const Token& sign = tokens_.next();
        const UnaryOp op = sign.text == "-" ? UnaryOp::kNegate : UnaryOp::kPlus;
        const int line = sign.line;
        const ParseLevel level(level_, line);
        ExprPtr operand = signed_operand(false);
        const int height = height_of(operand);
        value = make(line, UnaryExpr{op, std::move(operand)}, height);
    } else {
        value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

}  // namespace sluice::jinja
