#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/builtin.h"
#include "jinja/operations.h"
#include "jinja/value.h"

namespace sluice::jinja {

// --- expressions ---

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

struct Arguments {
    std::vector<ExprPtr> positional;
    std::vector<std::pair<std::string, ExprPtr>> keywords;
    ExprPtr spread;          // *value, or null
    ExprPtr keyword_spread;  // **value, or null
};

struct LiteralExpr {
    Value value;
};
struct NameExpr {
    std::string name;
};
struct ListExpr {
    std::vector<ExprPtr> items;
    bool is_tuple;
};
struct DictExpr {
    std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};
enum class UnaryOp { kNot, kNegate, kPlus };
struct UnaryExpr {
    UnaryOp op;
    ExprPtr operand;
};
struct ArithmeticExpr {
    Arithmetic op;
    ExprPtr left;
    ExprPtr right;
};
struct LogicalExpr {
    bool is_and;
    ExprPtr left;
    ExprPtr right;
};
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
struct CompareExpr {
    ExprPtr first;
    std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct ConcatExpr {
    std::vector<ExprPtr> parts;
};
struct ConditionalExpr {
    ExprPtr test;
    ExprPtr value;
    ExprPtr otherwise;  // may be null
};
struct AttributeExpr {
    ExprPtr object;
    std::string name;
};
struct ItemExpr {
    ExprPtr object;
    ExprPtr key;
};
struct SliceExpr {
    ExprPtr object;
    ExprPtr start;  // each may be null
    ExprPtr stop;
    ExprPtr step;
};
struct CallExpr {
    ExprPtr callee;
    Arguments arguments;
};
struct FilterExpr {
    ExprPtr input;  // null: the text that the block around it has captured
    std::string name;
    const Builtin* filter;  // null, an error when evaluated: it was named in a branch that may never run
    Arguments arguments;
};
struct TestExpr {
    ExprPtr input;
    std::string name;
    const Builtin* test;  // as above
    Arguments arguments;
};

struct Expr {
    using Node =
        std::variant<LiteralExpr, NameExpr, ListExpr, DictExpr, UnaryExpr, ArithmeticExpr, LogicalExpr, CompareExpr,
                     ConcatExpr, ConditionalExpr, AttributeExpr, ItemExpr, SliceExpr, CallExpr, FilterExpr, TestExpr>;
    int line;
    int height;  // levels of expressions below and including this one
    Node node;
};

// The greatest height among them; 0 where there is none.
int height_of(const ExprPtr& expr);
int height_of(const std::vector<ExprPtr>& exprs);
int height_of(const Arguments& arguments);

// --- statements ---

struct Statement;
using Block = std::vector<Statement>;

// What an assignment writes to: a name, an attribute of a namespace, or several of these.
struct Target {
    std::string name;           // empty: several
    std::string attribute;      // of the namespace `name`; empty: the name itself
    std::vector<Target> items;  // where the value is to be taken apart
};

struct Signature {
    std::vector<std::string> parameters;
    std::vector<ExprPtr> defaults;  // of the last so many parameters
    // Which of the special names the body mentions; extra arguments are an error where it does not.
    bool uses_caller = false;
    bool uses_varargs = false;
    bool uses_kwargs = false;
};

struct TextStatement {
    std::string text;
};
struct PrintStatement {
    ExprPtr value;
};
struct IfStatement {
    struct Branch {
        ExprPtr test;
        Block body;
    };
    std::vector<Branch> branches;
    Block otherwise;
};
struct ForStatement {
    Target target;
    ExprPtr iterable;
    ExprPtr condition;  // may be null
    bool recursive;
    Block body;
    Block otherwise;
};
struct SetStatement {
    Target target;
    ExprPtr value;
};
struct CaptureStatement {  // {% set x %}...{% endset %}
    Target target;
    ExprPtr filter;  // may be null
    Block body;
};
struct MacroStatement {
    std::string name;
    Signature signature;
    Block body;
};
struct CallStatement {
    ExprPtr call;
    MacroStatement caller;
};
struct FilterStatement {
    ExprPtr filter;
    Block body;
};
struct ScopeStatement {  // with, block, generation
    std::vector<std::pair<Target, ExprPtr>> variables;
    Block body;
    bool isolated;  // sees the variables of the template's top level only
};
struct LoopControlStatement {
    bool breaks;  // or continues
};
struct UnavailableStatement {  // include, import, extends: there are no other templates
    std::string tag;
};

struct Statement {
    using Node = std::variant<TextStatement, PrintStatement, IfStatement, ForStatement, SetStatement, CaptureStatement,
                              MacroStatement, CallStatement, FilterStatement, ScopeStatement, LoopControlStatement,
                              UnavailableStatement>;
    int line;
    Node node;
};

}  // namespace sluice::jinja
