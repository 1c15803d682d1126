#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/constraint.h"
#include "server/prompt.h"
#include "server/service.h"

namespace sluice::server {

// A request to go on with a conversation, whatever API it came through.
struct ChatRequest {
    Conversation conversation;
    ToolChoice tool_choice;
    OutputRule rule;
    GenerationOptions options;  // how tokens are drawn, and log_probabilities
    std::optional<int64_t> max_tokens;
    std::vector<std::string> stop;
    size_t choices = 1;
    bool parallel_calls = true;
    std::string call_prefix = "call_";
};

// What the request comes to: its prompt, and what constrains it. Throws ApiError, before anything is evaluated.
struct PreparedChat {
    std::shared_ptr<Job> job;
    AnswerSetup setup;
};
PreparedChat prepare(Service& service, ChatRequest request);

// The prompt that the request has, and nothing else.
Prompt chat_prompt(Service& service, const ChatRequest& request);

}  // namespace sluice::server
