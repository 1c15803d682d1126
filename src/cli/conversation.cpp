#include "cli/conversation.h"

#include "cli/prompt_flags.h"

namespace sluice::cli {

Conversation::Conversation(Engine& engine) : engine_(engine), session_(engine.new_session()) {}

void Conversation::set_system(const std::string& text) {
    system_ = text;
    reset();
}

void Conversation::reset() {
    messages_ = nlohmann::ordered_json::array();
    session_->truncate(0);
}

std::vector<PromptSpan> Conversation::rendered() const {
    nlohmann::ordered_json variables;
    variables["messages"] = nlohmann::ordered_json::array();
    if (!system_.empty()) variables["messages"].push_back({{"role", "system"}, {"content", system_}});
    for (const auto& message : messages_) variables["messages"].push_back(message);
    const std::string text = variables.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return engine_.chat_template()->render_conversation(text).spans;
}

GenerationResult Conversation::reply(const std::string& said, const GenerationOptions& options,
                                     const TokenCallback& on_token, const ProgressCallback& progress) {
    messages_.push_back({{"role", "user"}, {"content", said}});
    try {
        Prompt prompt;
        prompt.ids = tokenizer_of(engine_).encode(rendered());
        GenerationOptions whole = options;
        whole.whole_prompt = true;
        GenerationResult result = engine_.generate(*session_, prompt_ids(prompt, engine_), whole, on_token, progress);
        messages_.push_back({{"role", "assistant"}, {"content", result.text}});
        return result;
    } catch (...) {
        messages_.erase(messages_.size() - 1);
        session_->truncate(0);
        throw;
    }
}

}  // namespace sluice::cli
