#pragma once

// What a model writes, told apart as it streams: text for the reader, reasoning, tool calls.

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// How a family of models marks reasoning and tool calls; a row of a table (src/text/formats/).
struct OutputFormat;

// "qwen", "qwen-coder", "glm", "deepseek", "deepseek-dsml", "kimi", "minimax", "gpt-oss", "gemma", "llama", "mistral".
std::vector<std::string_view> output_format_names();
// Null for a name that is none of them.
const OutputFormat* find_output_format(std::string_view name);
// The format of a chat template, by the markup in its source; "qwen" for one that has none.
const OutputFormat& output_format_of(std::string_view template_source);
std::string_view name_of(const OutputFormat& format);

// The text around the JSON arguments of one call, for a caller that makes the model write a call.
struct CallFrame {
    std::string before;  // up to the arguments: `<tool_call>\n{"name": "f", "arguments": `
    std::string after;
};
// `index`: of the call among those of the answer. Formats that write arguments as text get the JSON form that their
// parser reads besides. The text is the program's own but for the name.
CallFrame call_frame(const OutputFormat& format, std::string_view function, size_t index);

// Whether a rendered prompt ends inside a reasoning block, which the answer then continues.
bool ends_in_reasoning(const OutputFormat& format, std::string_view prompt);

enum class OutputPart { kContent, kReasoning, kToolCall };

// A piece of one of the parts. The texts of a part, one after the other, are the part, whatever the cuts between
// pushes.
struct OutputDelta {
    OutputPart part = OutputPart::kContent;
    std::string text;       // of a tool call: a piece of its arguments, which are one JSON object in the end
    size_t call = 0;        // of a tool call: 0, 1, ... in the order in which they begin
    std::string name = {};  // of a tool call: the function, in its first delta alone, whose `text` is empty
    bool operator==(const OutputDelta&) const = default;
};

struct OutputParserOptions {
    // A JSON list of {"type": "function", "function": {"name", "parameters": schema}}, or of {"name", "parameters"}, or
    // empty. Formats that write arguments as text take their types from the schemas.
    std::string_view tools = {};
    bool reasoning_open = false;  // the prompt ended inside a reasoning block
    bool calls = true;            // false: markup of calls is text like any other (no tools were offered)
};

// Reads one answer. Its markup never appears in deltas, nor any beginning of it that may still become markup; a call
// that is cut short by the end has its arguments completed to valid JSON. Long strings in arguments are passed on as
// they come. White space around reasoning and around calls is dropped, all other text is kept to the byte.
// What does not follow the format is text; only a call that names no function is dropped. Nothing throws but the
// constructor (kUsage: `tools` is no such list).
// Memory is bounded by what is held back: a call's name, its keys and values other than strings, 1 MiB of each at most.
// One thread.
class OutputParser {
  public:
    OutputParser(const OutputFormat& format, const OutputParserOptions& options);
    OutputParser(OutputParser&&) noexcept;
    OutputParser& operator=(OutputParser&&) noexcept;
    ~OutputParser();

    // Whole characters, cut anywhere.
    std::vector<OutputDelta> push(std::string_view text);
    // The text of one special token: markup where the format knows it, otherwise dropped, as special tokens never
    // appear in answers.
    std::vector<OutputDelta> push_special(std::string_view token);
    // The end of the answer. No push may follow.
    std::vector<OutputDelta> finish();

    bool in_reasoning() const;  // a reasoning block is open
    size_t calls() const;       // that have begun

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
