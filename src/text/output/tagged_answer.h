#pragma once

#include "text/output/output_format.h"

namespace sluice::output {

// Answers in which a pair of marks holds the reasoning, and marks in the text begin calls.
std::unique_ptr<AnswerReader> tagged_answer(const OutputFormat& format, const AnswerStart& start);

}  // namespace sluice::output
