#include "grammar/expression.h"

#include "unicode/utf8.h"

namespace sluice::grammar {

ExpressionPointer chars_of(CharSet chars) {
    return std::make_shared<Expression>(Expression{.kind = Expression::Kind::kChars, .chars = std::move(chars)});
}

ExpressionPointer sequence_of(std::vector<ExpressionPointer> parts) {
    if (parts.size() == 1) return std::move(parts.front());
    return std::make_shared<Expression>(Expression{.kind = Expression::Kind::kSequence, .parts = std::move(parts)});
}

ExpressionPointer alternatives_of(std::vector<ExpressionPointer> parts) {
    if (parts.size() == 1) return std::move(parts.front());
    return std::make_shared<Expression>(Expression{.kind = Expression::Kind::kAlternatives, .parts = std::move(parts)});
}

ExpressionPointer repeat_of(ExpressionPointer part, uint32_t min, uint32_t max) {
    return std::make_shared<Expression>(
        Expression{.kind = Expression::Kind::kRepeat, .parts = {std::move(part)}, .min = min, .max = max});
}

ExpressionPointer literal_of(std::string_view utf8) {
    std::vector<ExpressionPointer> parts;
    for (size_t at = 0; at < utf8.size();) {
        const utf8::Decoded decoded = utf8::decode(utf8, at);
        parts.push_back(chars_of({{decoded.value, decoded.value}}));
        at += decoded.length;
    }
    return sequence_of(std::move(parts));
}

ExpressionPointer leaf_of(Expression::Kind kind, uint32_t value) {
    return std::make_shared<Expression>(Expression{.kind = kind, .value = value});
}

std::optional<uint64_t> fixed_width(const Expression& expression) {
    switch (expression.kind) {
        case Expression::Kind::kChars:
            return 1;
        case Expression::Kind::kBegin:
        case Expression::Kind::kEnd:
            return 0;
        case Expression::Kind::kRule:
        case Expression::Kind::kToken:
            return std::nullopt;
        case Expression::Kind::kRepeat: {
            const std::optional<uint64_t> width = fixed_width(*expression.parts.front());
            if (!width || (expression.min != expression.max && *width != 0)) return std::nullopt;
            return *width * expression.min;
        }
        case Expression::Kind::kSequence: {
            uint64_t sum = 0;
            for (const ExpressionPointer& part : expression.parts) {
                const std::optional<uint64_t> width = fixed_width(*part);
                if (!width) return std::nullopt;
                sum += *width;
            }
            return sum;
        }
        case Expression::Kind::kAlternatives: {
            std::optional<uint64_t> common;
            for (const ExpressionPointer& part : expression.parts) {
                const std::optional<uint64_t> width = fixed_width(*part);
                if (!width || (common && common != width)) return std::nullopt;
                common = width;
            }
            return common;
        }
    }
    return std::nullopt;
}

}  // namespace sluice::grammar
