#include "text/output/formats/qwen_calls.h"

#include "text/output/json_calls.h"
#include "text/output/tagged_calls.h"

namespace sluice::output {

namespace {

constexpr TaggedSyntax kFunctions = {
    .call_begin = "<function=",
    .name_end = ">",
    .parameter_begin = "<parameter=",
    .key_end = ">",
    .value_begin = "",
    .value_end = "</parameter>",
    .call_end = "</function>",
    .block_end = "</tool_call>",
    .lines = true,
};

std::unique_ptr<CallReader> block(const ToolSchemas& tools, std::string_view after) {
    const std::string_view begin = after.substr(space_end(after));
    if (begin.starts_with('<')) return tagged_reader(kFunctions, tools, false);
    return envelope_reader("</tool_call>");
}

Match confirm(std::string_view after, bool ended) {
    return one_follows(after, {"{", "[", "<function="}, ended);
}

}  // namespace

const std::array<CallOpener, 2> kQwenOpeners = {{
    {.mark = "<tool_call>", .reader = block, .confirm = confirm},
    {.mark = "<function=",
     .reader = [](const ToolSchemas& tools, std::string_view) { return tagged_reader(kFunctions, tools, true); }},
}};

}  // namespace sluice::output
