#include "server/prompt.h"

#include "sluice/error.h"

namespace sluice::server {

Prompt prompt_of(const Engine& engine, const Conversation& conversation) {
    if (engine.chat_template() == nullptr) {
        throw bad_field(conversation.field, "this model has no chat template; /v1/completions takes plain text");
    }
    Json variables = conversation.template_variables;
    variables["messages"] = conversation.messages;
    if (!conversation.tools.empty()) variables["tools"] = conversation.tools;
    Prompt prompt;
    try {
        const ChatPrompt rendered = engine.chat_template()->render_conversation(to_text(variables));
        prompt.ids = engine.tokenizer()->encode(rendered.spans);
        prompt.reasoning_open = rendered.reasoning_open;
    } catch (const Error& error) {
        throw bad_field(conversation.field, error.what());
    }
    check_room(engine, prompt.ids.size(), conversation.field);
    return prompt;
}

std::vector<TokenId> prompt_ids(const Engine& engine, const std::string& text) {
    std::vector<TokenId> ids = engine.tokenizer()->encode(text, true);
    // An answer to nothing begins where a text does.
    if (ids.empty() && !engine.defaults().eos_ids.empty()) ids.push_back(engine.defaults().eos_ids.back());
    return ids;
}

std::vector<TokenId> token_ids(const Tokenizer& tokenizer, const std::string& text, bool special) {
    const PromptSpan span{.text = text, .trusted = special};
    return text.empty() ? std::vector<TokenId>() : tokenizer.encode(std::span(&span, 1));
}

void check_room(const Engine& engine, size_t tokens, const std::string& field) {
    const auto context = static_cast<size_t>(engine.info().context);
    if (tokens >= context) throw context_exceeded(field, tokens, context);
}

}  // namespace sluice::server
