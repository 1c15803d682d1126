// DeepSeek V3.2 and V4: <｜DSML｜function_calls> around <｜DSML｜invoke name="..."> with
// <｜DSML｜parameter name="..." string="true">value</｜DSML｜parameter> inside.

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/tagged_answer.h"
#include "text/output/tagged_calls.h"

namespace sluice::output {

namespace {

constexpr std::array<std::string_view, 1> kMarks = {"｜DSML｜"};
constexpr std::array<std::string_view, 5> kFrames = {"</｜DSML｜function_calls>", "</｜DSML｜tool_calls>",
                                                     "</｜DSML｜invoke>", "</｜DSML｜parameter>", "｜DSML｜"};

constexpr TaggedSyntax syntax(std::string_view block_end) {
    return {
        .call_begin = "<｜DSML｜invoke name=",
        .name_end = ">",
        .parameter_begin = "<｜DSML｜parameter name=",
        .key_end = ">",
        .value_begin = "",
        .value_end = "</｜DSML｜parameter>",
        .call_end = "</｜DSML｜invoke>",
        .block_end = block_end,
    };
}

template <bool kToolCalls>
std::unique_ptr<CallReader> block(const ToolSchemas& tools, std::string_view after) {
    const std::string_view end = kToolCalls ? "</｜DSML｜tool_calls>" : "</｜DSML｜function_calls>";
    if (after.substr(space_end(after)).starts_with('{')) return envelope_reader(end);
    return tagged_reader(syntax(end), tools, false);
}

Match confirm(std::string_view after, bool ended) {
    return one_follows(after, {"{", "<｜DSML｜invoke name="}, ended);
}

constexpr std::array<CallOpener, 2> kOpeners = {{
    {.mark = "<｜DSML｜function_calls>", .reader = block<false>, .confirm = confirm},
    {.mark = "<｜DSML｜tool_calls>", .reader = block<true>, .confirm = confirm},
}};

}  // namespace

const OutputFormat kDeepseekDsml = {
    .name = "deepseek-dsml",
    .template_marks = kMarks,
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame =
        [](std::string_view function, size_t) {
            return envelope_frame("<｜DSML｜function_calls>\n", function, "\n</｜DSML｜function_calls>");
        },
};

}  // namespace sluice::output
