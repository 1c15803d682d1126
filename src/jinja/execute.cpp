#include <algorithm>

#include "jinja/failure.h"
#include "jinja/interpreter.h"
#include "jinja/render.h"

namespace sluice::jinja {

namespace {

class Macro : public Native {
  public:
    Macro(Interpreter& interpreter, const MacroStatement& statement, std::shared_ptr<Scope> definition)
        : Native(sizeof(Macro), 1),
          interpreter_(interpreter),
          statement_(statement),
          definition_(std::move(definition)) {}
    std::string type() const override { return "Macro"; }
    std::string repr() const override { return fmt::format("<Macro '{}'>", statement_.name); }
    Value call(const CallArguments& arguments) override {
        return interpreter_.call_macro(statement_, definition_, arguments);
    }
    std::optional<Value> attribute(std::string_view name) override {
        if (name == "name") return Value::string(statement_.name);
        return std::nullopt;
    }

  private:
    Interpreter& interpreter_;
    const MacroStatement& statement_;
    std::shared_ptr<Scope> definition_;
};

// Puts something else in a variable's place until the end of the block it stands in.
template <typename T>
class Replaced {
  public:
    Replaced(T& place, T value) : place_(place), outer_(std::exchange(place, std::move(value))) {}
    ~Replaced() { place_ = std::move(outer_); }
    Replaced(const Replaced&) = delete;
    Replaced& operator=(const Replaced&) = delete;

  private:
    T& place_;
    T outer_;
};

}  // namespace

SourcedText Interpreter::run(const Block& body, const Value& variables) {
    SourcedText out;
    out_ = &out;
    auto globals = std::make_shared<Scope>(nullptr);
    for (const auto& [name, value] : variables.as_dict().entries()) globals->set(name.text(), value);
    top_ = std::make_shared<Scope>(globals);
    scope_ = top_;
    execute(body);
    return out;
}

template <typename Action>
SourcedText Interpreter::captured(Action action) {
    SourcedText text;
    const Replaced<SourcedText*> output(out_, &text);
    action();
    return text;
}

void Interpreter::require_output(size_t bytes) const {
    charge_copy(bytes);
    require_room(out_->bytes() + bytes);
}

void Interpreter::print(const Value& value) {
    if (value.is_string()) {
        require_output(value.source().bytes());
        out_->append(value.source());
    } else {
        const std::string text = to_text(value);
        require_output(text.size());
        out_->append(text, false);
    }
}

Interpreter::Flow Interpreter::execute(const Block& body) {
    const Nested nested;
    for (const Statement& statement : body) {
        charge_items(1);
        line_ = statement.line;
        const Flow flow = std::visit([&](const auto& node) { return execute(node); }, statement.node);
        if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
}

Interpreter::Flow Interpreter::execute_in(std::shared_ptr<Scope> scope, const Block& body) {
    const Replaced<std::shared_ptr<Scope>> current(scope_, std::move(scope));
    return execute(body);
}

Interpreter::Flow Interpreter::execute(const TextStatement& statement) {
    require_output(statement.text.size());
    out_->append(statement.text, true);
    return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const PrintStatement& statement) {
    print(evaluate(*statement.value));
    return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const IfStatement& statement) {
    for (const IfStatement::Branch& branch : statement.branches) {
        if (truthy(evaluate(*branch.test))) return execute(branch.body);
    }
    return execute(statement.otherwise);
}

Interpreter::Flow Interpreter::execute(const ForStatement& statement) {
    const Value iterable = evaluate(*statement.iterable);
    run_loop(statement, iterable, 0);
    return Flow::kNext;
}

Loop::Condition Interpreter::condition_of(const ForStatement& statement) {
    if (!statement.condition) return nullptr;
    return [this, &statement, outer = scope_](const Value& item) {
        const Replaced<std::shared_ptr<Scope>> current(scope_, std::make_shared<Scope>(outer));
        assign(statement.target, item);
        return truthy(evaluate(*statement.condition));
    };
}

void Interpreter::run_loop(const ForStatement& statement, const Value& iterable, int depth) {
    Loop::Recursion recursion;
    if (statement.recursive) {
        recursion = [this, &statement, outer = scope_](const Value& inner, int inner_depth) {
            const Nested nested;
            const Replaced<std::shared_ptr<Scope>> current(scope_, outer);
            return Value::string(captured([&] { run_loop(statement, inner, inner_depth); }));
        };
    }
    const auto loop = std::make_shared<Loop>(iterable, condition_of(statement), std::move(recursion), depth);
    // As in Jinja: a first turn that ends in break or continue leaves the else part to run.
    bool finished_a_turn = false;
    while (loop->advance()) {
        const Replaced<std::shared_ptr<Scope>> current(scope_, inner_scope());
        assign(statement.target, loop->current());
        scope_->set("loop", Value::native(loop));
        const Flow flow = execute(statement.body);
        if (flow == Flow::kBreak) break;
        finished_a_turn = finished_a_turn || flow == Flow::kNext;
    }
    if (!finished_a_turn && !statement.otherwise.empty()) execute_in(inner_scope(), statement.otherwise);
}

Interpreter::Flow Interpreter::execute(const SetStatement& statement) {
    assign(statement.target, evaluate(*statement.value));
    return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const CaptureStatement& statement) {
    Value text;
    Flow flow = Flow::kNext;
    {
        const Replaced<std::shared_ptr<Scope>> inner(scope_, inner_scope());
        text = Value::string(captured([&] { flow = execute(statement.body); }));
        if (flow == Flow::kNext && statement.filter) {
            captured_ = std::move(text);
            text = evaluate(*statement.filter);
        }
    }
    if (flow == Flow::kNext) assign(statement.target, text);
    return flow;
}

Value Interpreter::new_macro(const MacroStatement& statement) {
    scope_->hold_until_end(scope_);
    return Value::native(std::make_shared<Macro>(*this, statement, scope_));
}

Interpreter::Flow Interpreter::execute(const MacroStatement& statement) {
    scope_->set(statement.name, new_macro(statement));
    return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const CallStatement& statement) {
    const Value caller = new_macro(statement.caller);
    const auto& expr = std::get<CallExpr>(statement.call->node);
    print(call(expr, statement.call->line, &caller));
    return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const FilterStatement& statement) {
    const Replaced<std::shared_ptr<Scope>> inner(scope_, inner_scope());
    Flow flow = Flow::kNext;
    captured_ = Value::string(captured([&] { flow = execute(statement.body); }));
    if (flow == Flow::kNext) print(evaluate(*statement.filter));
    return flow;
}

Interpreter::Flow Interpreter::execute(const ScopeStatement& statement) {
    std::vector<Value> values;
    for (const auto& [target, expr] : statement.variables) values.push_back(evaluate(*expr));
    const Replaced<std::shared_ptr<Scope>> inner(scope_, std::make_shared<Scope>(statement.isolated ? top_ : scope_));
    for (size_t i = 0; i < values.size(); ++i) assign(statement.variables[i].first, values[i]);
    return execute(statement.body);
}

Interpreter::Flow Interpreter::execute(const LoopControlStatement& statement) {
    return statement.breaks ? Flow::kBreak : Flow::kContinue;
}

Interpreter::Flow Interpreter::execute(const UnavailableStatement& statement) {
    raise("'{}' needs other templates, and a chat template stands alone", statement.tag);
}

void Interpreter::assign(const Target& target, const Value& value) {
    if (!target.attribute.empty()) return assign_namespace(target, value);
    if (target.items.empty()) return scope_->set(target.name, value);
    const Value::Items parts = iterate(value);
    const size_t wanted = target.items.size();
    if (parts.size() > wanted) raise("too many values to unpack (expected {})", wanted);
    if (parts.size() < wanted) raise("not enough values to unpack (expected {}, got {})", wanted, parts.size());
    for (size_t i = 0; i < wanted; ++i) assign(target.items[i], parts[i]);
}

void Interpreter::assign_namespace(const Target& target, const Value& value) {
    const Value* found = scope_->find(target.name);
    const bool is_namespace = found != nullptr && found->is(Kind::kNamespace);
    if (!is_namespace) raise("cannot assign attribute '{}' on non-namespace object", target.attribute);
    found->as_namespace().set(target.attribute, value);
}

Value Interpreter::call_macro(const MacroStatement& macro, const std::shared_ptr<Scope>& definition,
                              const CallArguments& arguments) {
    const Nested nested;
    const int calling_line = line_;
    const Replaced<std::shared_ptr<Scope>> inner(scope_, std::make_shared<Scope>(definition));
    bind_parameters(macro, arguments);
    Value result = Value::string(captured([&] { execute(macro.body); }));
    line_ = calling_line;
    return result;
}

void Interpreter::bind_parameters(const MacroStatement& macro, const CallArguments& arguments) {
    const Signature& signature = macro.signature;
    const size_t count = signature.parameters.size();
    const size_t positional = std::min(arguments.positional.size(), count);
    std::vector<std::pair<std::string, Value>> keywords = arguments.keywords;
    auto take = [&](std::string_view name) -> std::optional<Value> {
        const auto found =
            std::find_if(keywords.begin(), keywords.end(), [&](const auto& k) { return k.first == name; });
        if (found == keywords.end()) return std::nullopt;
        Value value = std::move(found->second);
        keywords.erase(found);
        return value;
    };

    for (size_t i = 0; i < positional; ++i) scope_->set(signature.parameters[i], arguments.positional[i]);
    std::vector<size_t> missing;
    for (size_t i = positional; i < count; ++i) {
        if (std::optional<Value> given = take(signature.parameters[i])) {
            scope_->set(signature.parameters[i], *std::move(given));
        } else {
            missing.push_back(i);
        }
    }
    if (signature.uses_caller) {
        scope_->set("caller", take("caller").value_or(Value::undefined("No caller defined")));
    }
    if (signature.uses_kwargs) {
        Value::Entries entries;
        for (auto& [name, value] : keywords) entries.emplace_back(Value::string(name), std::move(value));
        scope_->set("kwargs", Value::dict(std::move(entries)));
    } else if (!keywords.empty()) {
        raise("macro '{}' takes no keyword argument '{}'", macro.name, keywords[0].first);
    }
    if (signature.uses_varargs) {
        const auto begin = arguments.positional.begin() + static_cast<std::ptrdiff_t>(positional);
        scope_->set("varargs", Value::tuple(Value::Items(begin, arguments.positional.end())));
    } else if (arguments.positional.size() > count) {
        raise("macro '{}' takes not more than {} argument(s)", macro.name, count);
    }
    // Defaults last and in order: they may refer to the parameters before them, and those behind hide what is outside.
    for (const size_t i : missing) scope_->set(signature.parameters[i], Value());
    for (const size_t i : missing) {
        const std::string& name = signature.parameters[i];
        const size_t first_default = count - signature.defaults.size();
        scope_->set(name, i >= first_default ? evaluate(*signature.defaults[i - first_default])
                                             : Value::undefined(fmt::format("parameter '{}' was not provided", name)));
    }
}

}  // namespace sluice::jinja
