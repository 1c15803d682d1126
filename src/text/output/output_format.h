#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sluice/output_parser.h"
#include "text/output/answer_reader.h"
#include "text/output/call_reader.h"

namespace sluice {

// One family's markup. All text is of the program, so views are enough.
struct OutputFormat {
    std::string_view name;
    // A template that has one of these in its source is of this format.
    std::span<const std::string_view> template_marks;
    std::string_view reasoning_begin = "<think>";
    std::string_view reasoning_end = "</think>";
    std::span<const output::CallOpener> openers = {};
    // Marks that say nothing by themselves: around all calls, or left over.
    std::span<const std::string_view> frames = {};
    std::string_view prompt_in_reasoning = {};  // how such a prompt ends, where not with reasoning_begin
    std::unique_ptr<output::AnswerReader> (*reader)(const OutputFormat& format, const output::AnswerStart& start);
    CallFrame (*call_frame)(std::string_view function, size_t index);
    // With it begins every call, and what follows is as in call_frame; empty where calls have other forms besides.
    std::string_view call_begin = {};
    std::string_view text_begin = {};  // what stands before the text of every answer
    // The id of a conversation's call, where the family's templates want it in a form of their own.
    std::string (*call_id)(std::string_view function, size_t index) = nullptr;
};

namespace output {

// {"name": f, `arguments`: ...} between marks.
CallFrame envelope_frame(std::string_view open, std::string_view function, std::string_view close,
                         std::string_view arguments = "arguments");

}  // namespace output

}  // namespace sluice
