#pragma once

#include <string_view>
#include <vector>

#include "jinja/ast.h"
#include "jinja/token_stream.h"

namespace sluice::jinja {

// Jinja's expressions, from the loosest binding to the tightest: if-else, or, and, not, comparison, + -, ~, * / // %,
// **, sign, then filters, tests, calls and subscripts.
class ExpressionParser {
  public:
    explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

    ExprPtr expression(bool with_condition = true);
    // Expressions with commas between them make a tuple. `end` is a name that may follow, as in "for x in".
    ExprPtr tuple(bool with_condition, std::string_view end = {});
    // "name(arguments) | name ..." applied to `input`, which may be null; starts at a '|', or at a name where `inside`.
    ExprPtr filters(ExprPtr input, bool inside);
    // "(a, b=1)". The names `caller`, `varargs` and `kwargs` count as mentioned until end_macro.
    void begin_macro(Signature& signature);
    void end_macro();

    // Within an if, an unknown filter or test is an error only once it is reached.
    bool allow_unknown = false;

  private:
    static ExprPtr make(int line, Expr::Node node, int height_below);
    ExprPtr conditional();
    ExprPtr disjunction();
    ExprPtr conjunction();
    ExprPtr negation();
    ExprPtr comparison();
    ExprPtr sum();
    ExprPtr concatenation();
    ExprPtr product();
    ExprPtr power();
    ExprPtr signed_operand(bool with_filters);
    ExprPtr primary();
    ExprPtr parenthesized();
    ExprPtr list();
    ExprPtr dict();
    ExprPtr name(const Token& token);
    ExprPtr postfix(ExprPtr value);
    ExprPtr filters_and_tests(ExprPtr value);
    ExprPtr test(ExprPtr input);
    ExprPtr attribute(ExprPtr object);
    ExprPtr subscript(ExprPtr object);
    ExprPtr sliced(ExprPtr object, ExprPtr start, int line);
    ExprPtr call(ExprPtr callee);
    Arguments arguments();
    void argument(Arguments& into);
    std::string dotted_name();

    TokenStream& tokens_;
    int level_ = 0;
    std::vector<Signature*> macros_;
};

}  // namespace sluice::jinja
