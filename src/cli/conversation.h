#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sluice/engine.h"

namespace sluice::cli {

// What happens while a reply is made. Any may be empty.
struct ReplyListener {
    std::function<bool(const OutputDelta&)> delta;   // a piece of the answer; false stops
    ProgressCallback progress;                       // of the prompt; false cancels
    std::function<void(size_t exchanges)> left_out;  // so many of the oldest are no longer shown to the model
};

// The messages of a chat, and the session that holds what was evaluated of them: only what a new turn adds is
// evaluated, as long as the template leaves earlier turns as they were. What the context cannot hold is left out from
// the beginning, see reply(). One thread.
class Conversation {
  public:
    // `engine` must have a tokenizer and a chat template, and outlive this.
    explicit Conversation(Engine& engine);

    void set_system(const std::string& text) { system_ = text; }  // an empty text: none. The messages stay.
    void reset();                                                 // forgets every message but the system's

    // Adds what the user said, generates the answer and adds it too. On an error the messages are as they were before.
    //
    // Where the messages leave less than a quarter of the context (or than max_tokens) for the answer, the oldest
    // exchanges are left out until the rest fills half of the context at most; the system's message and the last one
    // always stay. So the model evaluates the rest again once in many turns, not in every one.
    GenerationResult reply(const std::string& said, const GenerationOptions& options, const ReplyListener& listener);

    // Takes the last exchange away: what the user had said in it; nothing where there is none.
    std::optional<std::string> undo();

    // {"messages": [...]}, as `render` reads it; with what is left out.
    nlohmann::ordered_json document() const;
    // Takes the place of all messages. Throws kInvalidFile, naming `label` and the message at fault, and changes
    // nothing then.
    void replace(const nlohmann::ordered_json& document, const std::string& label);

    size_t exchanges() const { return exchanges_before(messages_.size()); }
    size_t exchanges_left_out() const { return exchanges_before(first_); }
    int64_t tokens() const { return session_->position(); }  // evaluated

  private:
    size_t exchanges_before(size_t end) const;
    ChatPrompt rendered() const;
    bool leave_out_oldest();
    ChatPrompt fitting_prompt(int64_t max_tokens, const ReplyListener& listener, std::vector<TokenId>& ids);
    GenerationResult answer(const GenerationOptions& options, const ReplyListener& listener);

    Engine& engine_;
    std::unique_ptr<Session> session_;
    std::string system_;
    nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();  // without the system's
    size_t first_ = 0;                                                   // that is shown to the model
};

}  // namespace sluice::cli
