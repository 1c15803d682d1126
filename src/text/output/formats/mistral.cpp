// Mistral: [TOOL_CALLS] before a list of {"name", "arguments", "id"}, or from the eleventh tokenizer on before
// name[CALL_ID]id[ARGS]{...}, name[ARGS]{...} or name{...}, once for each call.

#include <fmt/core.h>

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

namespace {

constexpr std::array<std::string_view, 2> kMarks = {"[TOOL_CALLS]", "[INST]"};
constexpr std::array<std::string_view, 2> kFrames = {"[CALL_ID]", "[ARGS]"};

std::string function_of(std::string_view header, const ToolSchemas&) {
    return std::string(trimmed(header.substr(0, header.find('['))));
}

std::unique_ptr<CallReader> calls(const ToolSchemas& tools, std::string_view after) {
    const std::string_view begin = after.substr(space_end(after));
    if (begin.starts_with('[') || begin.starts_with('{')) return envelope_reader("");
    return header_reader({.close = "", .function = function_of}, tools);
}

Match confirm(std::string_view after, bool ended) {
    return space_end(after) < after.size() || ended ? Match::kYes : Match::kMaybe;
}

constexpr std::array<CallOpener, 1> kOpeners = {{{.mark = "[TOOL_CALLS]", .reader = calls, .confirm = confirm}}};

}  // namespace

const OutputFormat kMistral = {
    .name = "mistral",
    .template_marks = kMarks,
    .reasoning_begin = "[THINK]",
    .reasoning_end = "[/THINK]",
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function, size_t) { return envelope_frame("[TOOL_CALLS][", function, "]"); },
    .call_id = [](std::string_view, size_t index) { return fmt::format("{:09}", index); },
};

}  // namespace sluice::output
