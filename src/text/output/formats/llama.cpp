// Llama 3 and 4: {"name": ..., "parameters": {...}} as the whole answer or after <|python_tag|>, several with
// semicolons between; Llama 4 and 3.2 also [name(key="value")], in <|python_start|> and <|python_end|> or not;
// <function=name>{...}</function> where a system text asks for it.

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/python_calls.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

namespace {

constexpr std::array<std::string_view, 3> kMarks = {"<|python_tag|>", "<|start_header_id|>", "<|header_start|>"};
constexpr std::array<std::string_view, 3> kFrames = {"<|python_start|>", "<|python_end|>", "</function>"};

std::unique_ptr<CallReader> envelopes(const ToolSchemas&, std::string_view) {
    return envelope_reader("");
}

std::string function_of(std::string_view header, const ToolSchemas&) {
    return std::string(trimmed(header.substr(0, header.find('>'))));
}

std::unique_ptr<CallReader> tagged(const ToolSchemas& tools, std::string_view) {
    return header_reader({.close = "</function>", .function = function_of}, tools);
}

Match json_follows(std::string_view after, bool ended) {
    return one_follows(after, {"{", "["}, ended);
}

// An answer may be JSON without being a call.
Match name_follows(std::string_view after, bool ended) {
    std::string_view rest = after.substr(space_end(after));
    const Match name = begins_with(rest, "\"name\"", ended);
    const Match type = begins_with(rest, "\"type\"", ended);
    if (name == Match::kYes) return one_follows(rest.substr(6), {":"}, ended);
    if (type != Match::kYes) return name == Match::kMaybe || type == Match::kMaybe ? Match::kMaybe : Match::kNo;
    rest.remove_prefix(6);
    const Match colon = one_follows(rest, {":"}, ended);
    if (colon != Match::kYes || space_end(rest) == rest.size()) return colon;
    return one_follows(rest.substr(space_end(rest) + 1), {"\"function\""}, ended);
}

std::unique_ptr<CallReader> python(const ToolSchemas&, std::string_view) {
    return python_reader();
}

constexpr std::array<CallOpener, 4> kOpeners = {{
    {.mark = "<|python_tag|>", .reader = envelopes, .confirm = json_follows},
    {.mark = "<function=", .reader = tagged},
    {.mark = "{", .reader = envelopes, .confirm = name_follows, .at_start = true, .keep = true},
    {.mark = "[", .reader = python, .confirm = python_call_follows, .at_start = true},
}};

}  // namespace

const OutputFormat kLlama = {
    .name = "llama",
    .template_marks = kMarks,
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function,
                     size_t index) { return envelope_frame(index == 0 ? "" : "; ", function, "", "parameters"); },
};

}  // namespace sluice::output
