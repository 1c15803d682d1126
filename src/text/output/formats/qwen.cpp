// Qwen 2.5 and 3, and all who took the Hermes form from them: <tool_call>\n{"name": ..., "arguments":
// {...}}\n</tool_call>

#include "text/output/formats/formats.h"
#include "text/output/formats/qwen_calls.h"
#include "text/output/tagged_answer.h"

namespace sluice::output {

const OutputFormat kQwen = {
    .name = "qwen",
    .template_marks = {},
    .openers = kQwenOpeners,
    .frames = kQwenFrames,
    .reader = tagged_answer,
    .call_frame = [](std::string_view function,
                     size_t) { return envelope_frame("<tool_call>\n", function, "\n</tool_call>"); },
    .call_begin = "<tool_call>",
};

}  // namespace sluice::output
