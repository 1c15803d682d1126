// GLM 4.5 and later: <tool_call>name\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/tagged_answer.h"
#include "text/output/tagged_calls.h"

namespace sluice::output {

namespace {

constexpr std::array<std::string_view, 2> kMarks = {"<arg_key>", "[gMASK]"};
constexpr std::array<std::string_view, 5> kFrames = {"</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>",
                                                     "</arg_value>"};
constexpr TaggedSyntax kSyntax = {
    .call_begin = "",
    .name_end = "\n",
    .parameter_begin = "<arg_key>",
    .key_end = "</arg_key>",
    .value_begin = "<arg_value>",
    .value_end = "</arg_value>",
    .call_end = "",
    .block_end = "</tool_call>",
};

std::unique_ptr<CallReader> block(const ToolSchemas& tools, std::string_view after) {
    if (after.substr(space_end(after)).starts_with('{')) return envelope_reader(kSyntax.block_end);
    return tagged_reader(kSyntax, tools, false);
}

Match confirm(std::string_view after, bool ended) {
    const std::string_view name = after.substr(space_end(after));
    if (name.empty()) return ended ? Match::kYes : Match::kMaybe;
    const bool begins = (name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z') || name[0] == '_' ||
                        name[0] == '{' || static_cast<unsigned char>(name[0]) >= 0x80;
    return begins ? Match::kYes : Match::kNo;
}

constexpr std::array<CallOpener, 1> kOpeners = {{{.mark = "<tool_call>", .reader = block, .confirm = confirm}}};

}  // namespace

const OutputFormat kGlm = {
    .name = "glm",
    .template_marks = kMarks,
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function,
                     size_t) { return envelope_frame("<tool_call>", function, "</tool_call>"); },
};

}  // namespace sluice::output
