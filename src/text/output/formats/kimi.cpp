// Kimi K2: <|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{...}<|tool_call_end|> in a section. Models
// also write ids as they met them: functions_name_1, functionsname0.

#include <fmt/core.h>

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

namespace {

constexpr std::string_view kBegin = "<|tool_call_begin|>";
constexpr std::string_view kArguments = "<|tool_call_argument_begin|>";
constexpr std::string_view kEnd = "<|tool_call_end|>";
constexpr std::array<std::string_view, 2> kMarks = {kBegin, "<|im_assistant|>"};
constexpr std::array<std::string_view, 6> kFrames = {
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_section_begin|>",
    "<|tool_call_section_end|>",
    kArguments,
    kEnd,
};

std::string_view without_number(std::string_view id, std::string_view before_number) {
    const size_t digits = id.find_last_not_of("0123456789") + 1;
    const bool numbered = digits > 0 && digits < id.size();
    if (!numbered) return id;
    if (before_number.empty()) return id.substr(0, digits);
    return before_number.find(id[digits - 1]) == std::string_view::npos ? id : id.substr(0, digits - 1);
}

std::string function_of(std::string_view header, const ToolSchemas& tools) {
    const std::string_view id = trimmed(header.substr(0, header.find(kArguments)));
    // From what is written as it should be to what is not; a tool that is on offer decides.
    std::string_view likely;
    for (const std::string_view prefix : {"functions.", "functions_", "functions", ""}) {
        if (!id.starts_with(prefix)) continue;
        const std::string_view rest = id.substr(prefix.size());
        for (const std::string_view name :
             {without_number(rest, ":"), without_number(rest, ":_."), rest, without_number(rest, "")}) {
            if (tools.has(name)) return std::string(name);
        }
        if (likely.empty()) likely = without_number(rest, ":_");
    }
    // `call00003` names nothing; with one tool there is no doubt.
    if (likely.starts_with("call") && without_number(likely, "") == "call" && tools.names().size() == 1) {
        return tools.names()[0];
    }
    return std::string(likely);
}

std::unique_ptr<CallReader> call(const ToolSchemas& tools, std::string_view) {
    return header_reader({.close = kEnd, .function = function_of}, tools);
}

constexpr std::array<CallOpener, 1> kOpeners = {{{.mark = kBegin, .reader = call}}};

}  // namespace

const OutputFormat kKimi = {
    .name = "kimi",
    .template_marks = kMarks,
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function, size_t index) -> CallFrame {
        return {fmt::format("{}{}functions.{}:{}{}", index == 0 ? kFrames[0] : "", kBegin, function, index, kArguments),
                std::string(kEnd)};
    },
    .call_id = [](std::string_view function, size_t index) { return fmt::format("functions.{}:{}", function, index); },
};

}  // namespace sluice::output
