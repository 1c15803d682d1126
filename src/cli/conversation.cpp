#include "cli/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "cli/prompt_flags.h"
#include "server/answer_text.h"

namespace sluice::cli {

namespace {

bool is_from_user(const nlohmann::ordered_json& message) {
    return message["role"] == "user";
}

// The message, of which nothing but what a chat makes use of is kept.
nlohmann::ordered_json checked_message(const nlohmann::ordered_json& message, size_t place, const std::string& label) {
    nlohmann::ordered_json kept;
    for (const char* const field : {"role", "content"}) {
        if (!message.is_object() || !message.contains(field) || !message[field].is_string()) {
            fail(ErrorCode::kInvalidFile, "{}: message {} has no text as its `{}`", label, place, field);
        }
        kept[field] = message[field];
    }
    if (message.contains("reasoning_content") && message["reasoning_content"].is_string()) {
        kept["reasoning_content"] = message["reasoning_content"];
    }
    return kept;
}

// Puts the pieces of an answer together, and passes them on.
class AnswerParts {
  public:
    AnswerParts(server::AnswerText text, const ReplyListener& listener) : text_(std::move(text)), listener_(listener) {}

    bool push(TokenId id) { return take(text_.push(id)); }
    void finish() { take(text_.finish()); }

    nlohmann::ordered_json message() const {
        nlohmann::ordered_json message = {{"role", "assistant"}, {"content", content_}};
        if (!reasoning_.empty()) message["reasoning_content"] = reasoning_;
        return message;
    }

  private:
    bool take(const std::vector<OutputDelta>& deltas) {
        bool wanted = true;
        for (const OutputDelta& delta : deltas) {
            (delta.part == OutputPart::kReasoning ? reasoning_ : content_) += delta.text;
            if (listener_.delta) wanted = listener_.delta(delta) && wanted;
        }
        return wanted;
    }

    server::AnswerText text_;
    const ReplyListener& listener_;
    std::string content_, reasoning_;
};

}  // namespace

Conversation::Conversation(Engine& engine) : engine_(engine), session_(engine.new_session()) {}

void Conversation::reset() {
    messages_ = nlohmann::ordered_json::array();
    first_ = 0;
    session_->truncate(0);
}

size_t Conversation::exchanges_before(size_t end) const {
    return static_cast<size_t>(
        std::count_if(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(end), is_from_user));
}

std::optional<std::string> Conversation::undo() {
    for (size_t i = messages_.size(); i-- > 0;) {
        if (!is_from_user(messages_[i])) continue;
        std::string said = messages_[i]["content"];
        messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(i), messages_.end());
        first_ = std::min(first_, i);
        return said;
    }
    return std::nullopt;
}

nlohmann::ordered_json Conversation::document() const {
    nlohmann::ordered_json all;
    all["messages"] = nlohmann::ordered_json::array();
    if (!system_.empty()) all["messages"].push_back({{"role", "system"}, {"content", system_}});
    for (const auto& message : messages_) all["messages"].push_back(message);
    return all;
}

void Conversation::replace(const nlohmann::ordered_json& document, const std::string& label) {
    const bool has_list = document.is_object() && document.contains("messages");
    const nlohmann::ordered_json& list = has_list ? document["messages"] : document;
    if (!list.is_array()) {
        fail(ErrorCode::kInvalidFile, "{}: a list of messages is expected, or an object with `messages`", label);
    }
    std::string system;
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (size_t i = 0; i < list.size(); ++i) {
        nlohmann::ordered_json message = checked_message(list[i], i, label);
        if (i == 0 && message["role"] == "system") {
            system = message["content"];
        } else {
            messages.push_back(std::move(message));
        }
    }
    reset();
    system_ = std::move(system);
    messages_ = std::move(messages);
}

ChatPrompt Conversation::rendered() const {
    nlohmann::ordered_json variables;
    variables["messages"] = nlohmann::ordered_json::array();
    if (!system_.empty()) variables["messages"].push_back({{"role", "system"}, {"content", system_}});
    for (size_t i = first_; i < messages_.size(); ++i) variables["messages"].push_back(messages_[i]);
    const std::string text = variables.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return engine_.chat_template()->render_conversation(text);
}

// Up to what the user says next; false where that is all there is.
bool Conversation::leave_out_oldest() {
    for (size_t i = first_ + 1; i < messages_.size(); ++i) {
        if (!is_from_user(messages_[i])) continue;
        first_ = i;
        return true;
    }
    return false;
}

ChatPrompt Conversation::fitting_prompt(int64_t max_tokens, const ReplyListener& listener, std::vector<TokenId>& ids) {
    const Tokenizer& tokenizer = tokenizer_of(engine_);
    const int64_t context = engine_.info().context;
    ChatPrompt prompt = rendered();
    ids = tokenizer.encode(prompt.spans);
    int64_t most = context - std::min(max_tokens, context / 4);
    size_t exchanges = 0;
    while (static_cast<int64_t>(ids.size()) > most && leave_out_oldest()) {
        ++exchanges;
        most = context / 2;
        prompt = rendered();
        ids = tokenizer.encode(prompt.spans);
    }
    if (exchanges > 0 && listener.left_out) listener.left_out(exchanges);
    Prompt checked;
    checked.ids = std::move(ids);
    ids = prompt_ids(checked, engine_);
    return prompt;
}

GenerationResult Conversation::answer(const GenerationOptions& options, const ReplyListener& listener) {
    std::vector<TokenId> ids;
    const ChatPrompt prompt = fitting_prompt(options.max_tokens, listener, ids);
    AnswerParts parts(server::AnswerText(tokenizer_of(engine_), {.stop = options.stop,
                                                                 .format = &engine_.chat_template()->output_format(),
                                                                 .reasoning_open = prompt.reasoning_open}),
                      listener);
    GenerationOptions whole = options;
    whole.whole_prompt = true;
    const auto on_token = [&](TokenId id, const std::string&) { return parts.push(id); };
    GenerationResult result = engine_.generate(*session_, ids, whole, on_token, listener.progress);
    parts.finish();
    messages_.push_back(parts.message());
    return result;
}

GenerationResult Conversation::reply(const std::string& said, const GenerationOptions& options,
                                     const ReplyListener& listener) {
    const size_t messages = messages_.size(), first = first_;
    messages_.push_back({{"role", "user"}, {"content", said}});
    try {
        return answer(options, listener);
    } catch (...) {
        messages_.erase(messages_.begin() + static_cast<std::ptrdiff_t>(messages), messages_.end());
        first_ = first;
        session_->truncate(0);
        throw;
    }
}

}  // namespace sluice::cli
