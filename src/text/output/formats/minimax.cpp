// MiniMax M2: <minimax:tool_call> around <invoke name="..."> with <parameter name="...">value</parameter> inside.

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/tagged_answer.h"
#include "text/output/tagged_calls.h"

namespace sluice::output {

namespace {

constexpr std::array<std::string_view, 2> kMarks = {"minimax:tool_call", "]~b]"};
constexpr std::array<std::string_view, 2> kFrames = {"</minimax:tool_call>", "</invoke>"};
constexpr TaggedSyntax kSyntax = {
    .call_begin = "<invoke name=",
    .name_end = ">",
    .parameter_begin = "<parameter name=",
    .key_end = ">",
    .value_begin = "",
    .value_end = "</parameter>",
    .call_end = "</invoke>",
    .block_end = "</minimax:tool_call>",
};

std::unique_ptr<CallReader> block(const ToolSchemas& tools, std::string_view after) {
    if (after.substr(space_end(after)).starts_with('{')) return envelope_reader(kSyntax.block_end);
    return tagged_reader(kSyntax, tools, false);
}

Match confirm(std::string_view after, bool ended) {
    return one_follows(after, {"{", kSyntax.call_begin}, ended);
}

constexpr std::array<CallOpener, 1> kOpeners = {{{.mark = "<minimax:tool_call>", .reader = block, .confirm = confirm}}};

}  // namespace

const OutputFormat kMinimax = {
    .name = "minimax",
    .template_marks = kMarks,
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function,
                     size_t) { return envelope_frame("<minimax:tool_call>\n", function, "\n</minimax:tool_call>"); },
};

}  // namespace sluice::output
