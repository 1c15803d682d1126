#pragma once

#include <memory>
#include <string>

#include "jinja/ast.h"
#include "jinja/loop.h"
#include "jinja/scope.h"

namespace sluice::jinja {

// Runs a template once, within the current Render.
class Interpreter {
  public:
    // `variables` is a dict with string keys.
    SourcedText run(const Block& body, const Value& variables);
    int line() const { return line_; }  // where it stands, or stood when something was thrown

    // For the macro objects that templates call.
    Value call_macro(const MacroStatement& macro, const std::shared_ptr<Scope>& definition,
                     const CallArguments& arguments);

  private:
    enum class Flow { kNext, kBreak, kContinue };

    // Statements.
    Flow execute(const Block& body);
    Flow execute_in(std::shared_ptr<Scope> scope, const Block& body);
    Flow execute(const TextStatement& statement);
    Flow execute(const PrintStatement& statement);
    Flow execute(const IfStatement& statement);
    Flow execute(const ForStatement& statement);
    Flow execute(const SetStatement& statement);
    Flow execute(const CaptureStatement& statement);
    Flow execute(const MacroStatement& statement);
    Flow execute(const CallStatement& statement);
    Flow execute(const FilterStatement& statement);
    Flow execute(const ScopeStatement& statement);
    Flow execute(const LoopControlStatement& statement);
    Flow execute(const UnavailableStatement& statement);
    void run_loop(const ForStatement& statement, const Value& iterable, int depth);
    Loop::Condition condition_of(const ForStatement& statement);
    void assign(const Target& target, const Value& value);
    void assign_namespace(const Target& target, const Value& value);
    void bind_parameters(const MacroStatement& macro, const CallArguments& arguments);
    std::shared_ptr<Scope> inner_scope() const { return std::make_shared<Scope>(scope_); }
    Value new_macro(const MacroStatement& statement);
    void print(const Value& value);
    void require_output(size_t bytes) const;
    template <typename Action>
    SourcedText captured(Action action);

    // Expressions.
    Value evaluate(const Expr& expr);
    Value evaluate(const LiteralExpr& expr, int line);
    Value evaluate(const NameExpr& expr, int line);
    Value evaluate(const ListExpr& expr, int line);
    Value evaluate(const DictExpr& expr, int line);
    Value evaluate(const UnaryExpr& expr, int line);
    Value evaluate(const ArithmeticExpr& expr, int line);
    Value evaluate(const LogicalExpr& expr, int line);
    Value evaluate(const CompareExpr& expr, int line);
    Value evaluate(const ConcatExpr& expr, int line);
    Value evaluate(const ConditionalExpr& expr, int line);
    Value evaluate(const AttributeExpr& expr, int line);
    Value evaluate(const ItemExpr& expr, int line);
    Value evaluate(const SliceExpr& expr, int line);
    Value evaluate(const CallExpr& expr, int line);
    Value evaluate(const FilterExpr& expr, int line);
    Value evaluate(const TestExpr& expr, int line);
    Value call(const CallExpr& expr, int line, const Value* caller);
    CallArguments evaluate_arguments(const Arguments& arguments);

    std::shared_ptr<Scope> scope_;
    std::shared_ptr<Scope> top_;
    SourcedText* out_ = nullptr;
    Value captured_;  // what the filter of a block applies to
    int line_ = 1;
};

}  // namespace sluice::jinja
