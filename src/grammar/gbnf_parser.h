#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/expression.h"

namespace sluice::grammar {

// The rules of a grammar in GBNF, by number.
struct GbnfGrammar {
    struct Rule {
        std::string name;
        ExpressionPointer body = nullptr;  // null: defined elsewhere
    };
    std::vector<Rule> rules = {};

    std::optional<uint32_t> find(std::string_view name) const;
};

// How literals and token names become expressions: for tokens that no text is spelled with.
class GbnfTokens {
  public:
    virtual ~GbnfTokens() = default;
    virtual ExpressionPointer literal(std::string_view text) const = 0;
    virtual std::optional<uint32_t> find(std::string_view content) const = 0;
    virtual bool has(uint64_t id) const = 0;
};

// `elsewhere`: names of rules that the text may use and must not define. Throws kUsage naming the line.
GbnfGrammar parse_gbnf(std::string_view text, const GbnfTokens& tokens, const std::vector<std::string>& elsewhere);

}  // namespace sluice::grammar
