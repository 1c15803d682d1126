#pragma once

// Where in an answer begins what a constraint holds it to, by the family that writes it.

#include <string_view>

#include "sluice/output_parser.h"

namespace sluice {

// The text after which nothing but calls in the form of call_frame comes, where the family writes them in that form
// alone; else empty.
std::string_view calls_begin_with(const OutputFormat& format);

// The texts after which what an answer must be holds: its text, and its calls. Empty: from its beginning.
// `reasoning_open`: the prompt ended inside a reasoning block.
struct AnswerBegin {
    std::string_view text, calls;
};
AnswerBegin answer_begin(const OutputFormat& format, bool reasoning_open);

}  // namespace sluice
