#pragma once

// Conversations to prompt text, through a checkpoint's own Jinja chat template.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/output_parser.h"
#include "sluice/tokenizer.h"

namespace sluice {

// A rendered conversation, for Tokenizer::encode.
struct ChatPrompt {
    std::vector<PromptSpan> spans;
    bool reasoning_open = false;  // the prompt ends inside a reasoning block: see OutputParserOptions
};

// A parsed template. Immutable: render may be called from many threads.
class ChatTemplate {
  public:
    // Of a checkpoint folder: chat_template.jinja, else chat_template.json, else `chat_template` of
    // tokenizer_config.json (a string, or a list of {name, template}); each .jinja of additional_chat_templates/ is one
    // more, under its own name. "tool_use" is taken when tools are given, else "default". bos_token, eos_token and
    // other special tokens of tokenizer_config.json or special_tokens_map.json become variables. Or of a GGUF
    // file: its tokenizer.chat_template. Throws kNotFound where there is no template.
    static ChatTemplate open(const std::filesystem::path& folder);
    // `source` is Jinja; `label` names it in messages. Throws kInvalidFile "label:line: what is wrong".
    static ChatTemplate parse(std::string_view source, const std::string& label);

    ChatTemplate(ChatTemplate&&) noexcept;
    ChatTemplate& operator=(ChatTemplate&&) noexcept;
    ~ChatTemplate();

    // `variables_json`: an object {"messages": [...], "tools": [...] | null, ...template variables};
    // add_generation_prompt is true unless the object says otherwise. Throws kUsage with the template's own words on
    // raise_exception, and "label:line: ..." for anything else that goes wrong while rendering.
    std::string render(std::string_view variables_json) const;
    // The same text, with what the template itself wrote (its text, its string literals, the special tokens of the
    // checkpoint) told from what the variables brought in, through all that the template does with strings on the way.
    // Neighbours differ in `trusted`; none is empty.
    std::vector<PromptSpan> render_spans(std::string_view variables_json) const;

    // A conversation as the clients of a server send it, also where the template would raise or leave something out:
    // contents that are null or lists of parts, several system messages and late ones, the role `developer`, roles in
    // any order, arguments of calls as text or as objects, tools, calls and results for a template that knows none.
    // What the template takes stays as it is; the rest is rewritten (see prepare_conversation), in the same way for
    // every conversation, so that a longer one begins with the prompt of a shorter one. Variables as for render. Throws
    // kUsage where `messages` is not a list of objects with a role, or where rendering goes beyond its limits.
    ChatPrompt render_conversation(std::string_view variables_json) const;

    // How a model that was trained with this template writes reasoning and tool calls.
    const OutputFormat& output_format() const;

  private:
    struct Impl;
    explicit ChatTemplate(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
