#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sluice/engine.h"

namespace sluice::cli {

// The messages of a chat, and the session that holds what was evaluated of them: only what a new turn adds is
// evaluated, as long as the template leaves earlier turns as they were. One thread.
class Conversation {
  public:
    // `engine` must have a tokenizer and a chat template, and outlive this.
    explicit Conversation(Engine& engine);

    void set_system(const std::string& text);  // an empty text: none; starts over
    void reset();                              // forgets every message but the system's

    // Adds what the user said, generates the answer and adds it too. On an error the messages are as they were before.
    GenerationResult reply(const std::string& said, const GenerationOptions& options, const TokenCallback& on_token,
                           const ProgressCallback& progress);

  private:
    std::vector<PromptSpan> rendered() const;

    Engine& engine_;
    std::unique_ptr<Session> session_;
    std::string system_;
    nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();  // without the system's
};

}  // namespace sluice::cli
