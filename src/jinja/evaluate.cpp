#include <algorithm>

#include "jinja/failure.h"
#include "jinja/interpreter.h"
#include "jinja/render.h"

namespace sluice::jinja {

Value Interpreter::evaluate(const Expr& expr) {
    const Nested nested;
    charge_items(1);
    return std::visit([&](const auto& node) { return evaluate(node, expr.line); }, expr.node);
}

Value Interpreter::evaluate(const LiteralExpr& expr, int) {
    return expr.value;
}

Value Interpreter::evaluate(const NameExpr& expr, int line) {
    line_ = line;
    if (const Value* found = scope_->find(expr.name)) return *found;
    return global_function(expr.name);
}

Value Interpreter::evaluate(const ListExpr& expr, int line) {
    Value::Items items;
    items.reserve(expr.items.size());
    for (const ExprPtr& item : expr.items) items.push_back(evaluate(*item));
    line_ = line;
    return expr.is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value Interpreter::evaluate(const DictExpr& expr, int line) {
    Value::Entries entries;
    entries.reserve(expr.entries.size());
    for (const auto& [key, value] : expr.entries) {
        Value evaluated_key = evaluate(*key);
        entries.emplace_back(std::move(evaluated_key), evaluate(*value));
    }
    line_ = line;
    return Value::dict(std::move(entries));
}

Value Interpreter::evaluate(const UnaryExpr& expr, int line) {
    const Value operand = evaluate(*expr.operand);
    line_ = line;
    switch (expr.op) {
        case UnaryOp::kNot:
            return Value::boolean(!truthy(operand));
        case UnaryOp::kNegate:
            return negate(operand);
        case UnaryOp::kPlus:
            return positive(operand);
    }
    return {};
}

Value Interpreter::evaluate(const ArithmeticExpr& expr, int line) {
    const Value left = evaluate(*expr.left);
    const Value right = evaluate(*expr.right);
    line_ = line;
    return calculate(expr.op, left, right);
}

Value Interpreter::evaluate(const LogicalExpr& expr, int) {
    Value left = evaluate(*expr.left);
    if (truthy(left) != expr.is_and) return left;
    return evaluate(*expr.right);
}

Value Interpreter::evaluate(const CompareExpr& expr, int line) {
    Value left = evaluate(*expr.first);
    auto holds = [](CompareOp op, const Value& a, const Value& b) {
        switch (op) {
            case CompareOp::kEqual:
                return equal(a, b);
            case CompareOp::kNotEqual:
                return !equal(a, b);
            case CompareOp::kLess:
                return less(a, b);
            case CompareOp::kLessEqual:
                return less_or_equal(a, b);
            case CompareOp::kGreater:
                return less(b, a);
            case CompareOp::kGreaterEqual:
                return less_or_equal(b, a);
            case CompareOp::kIn:
                return contains(b, a);
            case CompareOp::kNotIn:
                return !contains(b, a);
        }
        return false;
    };
    for (const auto& [op, operand] : expr.rest) {
        Value right = evaluate(*operand);
        line_ = line;
        if (!holds(op, left, right)) return Value::boolean(false);
        left = std::move(right);
    }
    return Value::boolean(true);
}

Value Interpreter::evaluate(const ConcatExpr& expr, int line) {
    SourcedText text;
    for (const ExprPtr& part : expr.parts) {
        const Value value = evaluate(*part);
        const SourceOf piece(value);
        line_ = line;
        require_room(text.bytes() + piece.get().bytes());
        text.append(piece.get());
    }
    return Value::string(std::move(text));
}

Value Interpreter::evaluate(const ConditionalExpr& expr, int line) {
    if (truthy(evaluate(*expr.test))) return evaluate(*expr.value);
    if (expr.otherwise) return evaluate(*expr.otherwise);
    return Value::undefined(
        fmt::format("the inline if-expression on line {} evaluated to false and no else section was defined.", line));
}

Value Interpreter::evaluate(const AttributeExpr& expr, int line) {
    const Value object = evaluate(*expr.object);
    line_ = line;
    return get_attribute(object, expr.name);
}

Value Interpreter::evaluate(const ItemExpr& expr, int line) {
    const Value object = evaluate(*expr.object);
    const Value key = evaluate(*expr.key);
    line_ = line;
    return get_item(object, key);
}

Value Interpreter::evaluate(const SliceExpr& expr, int line) {
    auto bound = [&](const ExprPtr& part) { return part ? evaluate(*part) : Value::none(); };
    const Value object = evaluate(*expr.object);
    const Value start = bound(expr.start);
    const Value stop = bound(expr.stop);
    const Value step = bound(expr.step);
    line_ = line;
    return slice(object, start, stop, step);
}

Value Interpreter::evaluate(const CallExpr& expr, int line) {
    return call(expr, line, nullptr);
}

Value Interpreter::call(const CallExpr& expr, int line, const Value* caller) {
    const Value callee = evaluate(*expr.callee);
    CallArguments arguments = evaluate_arguments(expr.arguments);
    if (caller != nullptr) arguments.keywords.emplace_back("caller", *caller);
    line_ = line;
    if (callee.is_undefined()) raise("{}", callee.reason());
    if (!is_callable(callee)) raise("'{}' object is not callable", type_name(callee));
    return callee.as_native().call(arguments);
}

CallArguments Interpreter::evaluate_arguments(const Arguments& arguments) {
    CallArguments given;
    for (const ExprPtr& value : arguments.positional) given.positional.push_back(evaluate(*value));
    for (const auto& [name, value] : arguments.keywords) given.keywords.emplace_back(name, evaluate(*value));
    if (arguments.spread) {
        for (Value& value : iterate(evaluate(*arguments.spread))) given.positional.push_back(std::move(value));
    }
    if (!arguments.keyword_spread) return given;
    const Value more = evaluate(*arguments.keyword_spread);
    if (!more.is(Kind::kDict)) raise("argument after ** must be a mapping, not {}", type_name(more));
    for (const auto& [name, value] : more.as_dict().entries()) {
        if (!name.is_string()) raise("keywords must be strings");
        given.keywords.emplace_back(name.text(), value);
    }
    for (size_t i = 0; i < given.keywords.size(); ++i) {
        for (size_t j = 0; j < std::min(i, arguments.keywords.size()); ++j) {
            if (given.keywords[i].first != given.keywords[j].first) continue;
            raise("got multiple values for keyword argument '{}'", given.keywords[i].first);
        }
    }
    return given;
}

Value Interpreter::evaluate(const FilterExpr& expr, int line) {
    const Value input = expr.input ? evaluate(*expr.input) : captured_;
    const CallArguments arguments = evaluate_arguments(expr.arguments);
    line_ = line;
    if (expr.filter == nullptr) raise("No filter named '{}' found.", expr.name);
    return call_builtin(*expr.filter, input, arguments);
}

Value Interpreter::evaluate(const TestExpr& expr, int line) {
    const Value input = evaluate(*expr.input);
    const CallArguments arguments = evaluate_arguments(expr.arguments);
    line_ = line;
    if (expr.test == nullptr) raise("No test named '{}' found.", expr.name);
    return call_builtin(*expr.test, input, arguments);
}

}  // namespace sluice::jinja
