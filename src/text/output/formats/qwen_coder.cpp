// Qwen3-Coder, Qwen3.5 and later, Nemotron 3, MiMo: <function=name> with <parameter=key> inside.

#include "text/output/formats/formats.h"
#include "text/output/formats/qwen_calls.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

namespace {
constexpr std::array<std::string_view, 1> kMarks = {"<function="};
}

const OutputFormat kQwenCoder = {
    .name = "qwen-coder",
    .template_marks = kMarks,
    .openers = kQwenOpeners,
    .frames = kQwenFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function,
                     size_t) { return envelope_frame("<tool_call>\n", function, "\n</tool_call>"); },
};

}  // namespace sluice::output
