#pragma once

#include <string>
#include <string_view>

namespace sluice {

class TokenizerField;

// What the pre-tokenizer and the decoder of type Metaspace are told.
struct Metaspace {
    std::string replacement;  // one character in the place of a space
    std::string scheme;       // always, first or never: which words get it at the front
    bool split = true;

    // Throws kInvalidFile. Files from before the schemes say `add_prefix_space`.
    static Metaspace parse(const TokenizerField& field);
};

// `what` is not empty.
std::string replace_all(std::string_view text, std::string_view what, std::string_view replacement);

}  // namespace sluice
