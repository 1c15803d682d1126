#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "jinja/failure.h"
#include "jinja/lexer.h"

namespace sluice::jinja {

// A place within the tokens of a template.
class TokenStream {
  public:
    explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

    const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
    const Token& next() {
        const Token& token = peek();
        if (at_ + 1 < tokens_.size()) ++at_;
        return token;
    }
    int line() const { return peek().line; }

    bool at(TokenType type) const { return peek().type == type; }
    bool at_operator(std::string_view symbol, size_t ahead = 0) const {
        return peek(ahead).type == TokenType::kOperator && peek(ahead).text == symbol;
    }
    bool at_name(std::string_view name, size_t ahead = 0) const {
        return peek(ahead).type == TokenType::kName && peek(ahead).text == name;
    }
    bool accept_operator(std::string_view symbol) { return at_operator(symbol) && (next(), true); }
    bool accept_name(std::string_view name) { return at_name(name) && (next(), true); }

    void expect_operator(std::string_view symbol) {
        if (!accept_operator(symbol)) expected(symbol);
    }
    const Token& expect(TokenType type, std::string_view what) {
        if (!at(type)) expected(what);
        return next();
    }

    [[noreturn]] void expected(std::string_view what) const {
        if (at(TokenType::kEnd)) raise_at(line(), "unexpected end of template, expected '{}'", what);
        raise_at(line(), "expected '{}', got '{}'", what, description());
    }
    std::string_view description() const {
        switch (peek().type) {
            case TokenType::kData:
                return "template text";
            case TokenType::kBlockBegin:
                return "{%";
            case TokenType::kBlockEnd:
                return "%}";
            case TokenType::kVariableBegin:
                return "{{";
            case TokenType::kVariableEnd:
                return "}}";
            case TokenType::kEnd:
                return "end of template";
            default:
                return peek().text;
        }
    }

  private:
    std::vector<Token> tokens_;
    size_t at_ = 0;
};

// Counts how deep the parser is; beyond what Jinja itself can compile, a template is refused.
class ParseLevel {
  public:
    ParseLevel(int& level, int line) : level_(level) {
        constexpr int kMaxLevels = 100;
        if (level_ >= kMaxLevels) raise_at(line, "nested beyond {} levels", kMaxLevels);
        ++level_;
    }
    ~ParseLevel() { --level_; }
    ParseLevel(const ParseLevel&) = delete;
    ParseLevel& operator=(const ParseLevel&) = delete;

  private:
    int& level_;
};

}  // namespace sluice::jinja
