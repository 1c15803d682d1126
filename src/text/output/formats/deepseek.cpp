// DeepSeek V3.1: <｜tool▁call▁begin｜>name<｜tool▁sep｜>{...}<｜tool▁call▁end｜>; V3 and R1 have the
// kind before the separator, then the name on a line of its own and the arguments in a fence.

#include <array>

#include "text/output/formats/formats.h"
#include "text/output/json_calls.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

namespace {

constexpr std::string_view kBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kEnd = "<｜tool▁call▁end｜>";
constexpr std::array<std::string_view, 2> kMarks = {"<｜tool▁call", "<｜Assistant｜>"};
constexpr std::array<std::string_view, 6> kFrames = {
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    kEnd,
    kSeparator,
};

std::string function_of(std::string_view header, const ToolSchemas&) {
    const size_t separator = header.find(kSeparator);
    const std::string_view kind = trimmed(header.substr(0, separator));
    if (separator == std::string_view::npos || kind != "function") {
        return std::string(kind.substr(0, kind.find('\n')));
    }
    const std::string_view rest = trimmed(header.substr(separator + kSeparator.size()));
    // A tool may be called `function`, too.
    if (rest.empty()) return std::string(kind);
    return std::string(trimmed(rest.substr(0, rest.find_first_of("\n`"))));
}

std::unique_ptr<CallReader> call(const ToolSchemas& tools, std::string_view) {
    return header_reader({.close = kEnd, .function = function_of}, tools);
}

constexpr std::array<CallOpener, 1> kOpeners = {{{.mark = kBegin, .reader = call}}};

}  // namespace

const OutputFormat kDeepseek = {
    .name = "deepseek",
    .template_marks = kMarks,
    .openers = kOpeners,
    .frames = kFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function, size_t index) -> CallFrame {
        const std::string section = index == 0 ? "<｜tool▁calls▁begin｜>" : "";
        return {section + std::string(kBegin) + std::string(function) + std::string(kSeparator), std::string(kEnd)};
    },
};

}  // namespace sluice::output
