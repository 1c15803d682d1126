#pragma once

// Regular expressions and the right sides of grammar rules as trees.

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/char_set.h"

namespace sluice::grammar {

// Limits of a grammar's or a pattern's text.
inline constexpr int kDeepestGroup = 200;
inline constexpr uint32_t kMostRepeats = 1'000'000'000;

inline constexpr uint32_t kUnbounded = UINT32_MAX;

struct Expression {
    enum class Kind {
        kChars,         // one character of `chars`
        kSequence,      // `parts` one after the other; none: the empty text
        kAlternatives,  // one of `parts`; none: nothing at all
        kRepeat,        // parts[0], `min` to `max` times
        kBegin,         // the begin of the text
        kEnd,           // its end
        kRule,          // the rule number `value`
        kToken,         // the one token of id `value`
    };

    Kind kind = Kind::kSequence;
    CharSet chars = {};
    std::vector<std::shared_ptr<const Expression>> parts = {};
    uint32_t min = 0;
    uint32_t max = 0;
    uint32_t value = 0;
};

using ExpressionPointer = std::shared_ptr<const Expression>;

ExpressionPointer chars_of(CharSet chars);
ExpressionPointer sequence_of(std::vector<ExpressionPointer> parts);
ExpressionPointer alternatives_of(std::vector<ExpressionPointer> parts);
ExpressionPointer repeat_of(ExpressionPointer part, uint32_t min, uint32_t max);
ExpressionPointer literal_of(std::string_view utf8);
ExpressionPointer leaf_of(Expression::Kind kind, uint32_t value = 0);

// How many characters every text of the expression has, where that is one number.
std::optional<uint64_t> fixed_width(const Expression& expression);

}  // namespace sluice::grammar
