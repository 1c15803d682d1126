#include "jinja/ast.h"

#include <algorithm>

namespace sluice::jinja {

int height_of(const ExprPtr& expr) {
    return expr ? expr->height : 0;
}

int height_of(const std::vector<ExprPtr>& exprs) {
    int highest = 0;
    for (const ExprPtr& expr : exprs) highest = std::max(highest, height_of(expr));
    return highest;
}

int height_of(const Arguments& arguments) {
    int highest =
        std::max({height_of(arguments.positional), height_of(arguments.spread), height_of(arguments.keyword_spread)});
    for (const auto& [name, value] : arguments.keywords) highest = std::max(highest, height_of(value));
    return highest;
}

}  // namespace sluice::jinja
