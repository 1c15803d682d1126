#pragma once

// Conversations to prompt text, through a checkpoint's own Jinja chat template.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace sluice {

// A parsed template. Immutable: render may be called from many threads.
class ChatTemplate {
  public:
    // Of a checkpoint folder: chat_template.jinja, else chat_template.json, else `chat_template` of
    // tokenizer_config.json (a string, or a list of {name, template}); each .jinja of additional_chat_templates/ is one
    // more, under its own name. "tool_use" is taken when tools are given, else "default". bos_token, eos_token and
    // other special tokens of tokenizer_config.json or special_tokens_map.json become variables. Throws kNotFound
    // where there is no template.
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

  private:
    struct Impl;
    explicit ChatTemplate(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
