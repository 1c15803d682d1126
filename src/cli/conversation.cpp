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

std::string Conversation::rendered() const {
    nlohmann::ordered_json variables;
    variables["messages"] = nlohmann::ordered_json::array();
    if (!system_.empty()) variables["messages"].push_back({{"role", "system"}, {"content", system_}});
    for (const auto& message : messages_) variables["messages"].push_back(message);
    return engine_.chat_template()->render(variables.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

GenerationResult Conversation::reply(const std::string& said, const GenerationOptions& options,
                                     const TokenCallback& on_token, const ProgressCallback& progress) {
    messages_.push_back({{"role", "user"}, {"content", said}});
    try {
        const std::string text = rendered();
        prompt_ids({.text = text, .ids = {}, .rendered = true}, engine_);  // refuses what the context cannot hold
        GenerationResult result = engine_.generate_text(*session_, text, options, on_token, progress);
        messages_.push_back({{"role", "assistant"}, {"content", result.text}});
        return result;
    } catch (...) {
        messages_.erase(messages_.size() - 1);
        session_->truncate(0);
        throw;
    }
}

}  // namespace sluice::cli
