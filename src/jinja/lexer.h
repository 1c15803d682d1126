#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jinja/value.h"

namespace sluice::jinja {

enum class TokenType : uint8_t {
    kData,  // template text between tags
    kBlockBegin,
    kBlockEnd,
    kVariableBegin,
    kVariableEnd,
    kName,
    kString,
    kNumber,
    kOperator,
    kEnd,
};

struct Token {
    TokenType type;
    int line;
    std::string text;  // data, a name, the contents of a string, or the operator
    Value number;
};

// Cuts a template into tokens, white space between tags already trimmed the way transformers sets Jinja up
// (trim_blocks, lstrip_blocks). Ends with a kEnd token. Throws Failure with the line.
std::vector<Token> tokenize(std::string_view source);

}  // namespace sluice::jinja
