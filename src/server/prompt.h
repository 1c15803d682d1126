#pragma once

#include <string>
#include <vector>

#include "server/answer_text.h"
#include "server/json.h"
#include "sluice/engine.h"

namespace sluice::server {

// What is to be answered, in the form that every API is brought into: the same conversation is the same prompt.
struct Conversation {
    // As chat completions have them: role, content (a text or null), reasoning_content, tool_calls, tool_call_id.
    Json messages = Json::array();
    Json tools = Json::array();                // {"type": "function", "function": {...}}
    Json template_variables = Json::object();  // of the chat template, beside these
    std::string field = "messages";            // what the API calls the conversation, for messages of errors
};

struct Prompt {
    std::vector<TokenId> ids;
    bool reasoning_open = false;  // it ends inside a reasoning block
};

// The conversation's prompt: text of users never becomes special tokens. Throws ApiError.
Prompt prompt_of(const Engine& engine, const Conversation& conversation);

// The prompt's tokens of a plain text, whose special tokens are special; never empty.
std::vector<TokenId> prompt_ids(const Engine& engine, const std::string& text);

// The text's tokens; with `special` off, names of added tokens in it are text.
std::vector<TokenId> token_ids(const Tokenizer& tokenizer, const std::string& text, bool special);

// Throws a 400 for a prompt that leaves no room for an answer.
void check_room(const Engine& engine, size_t tokens, const std::string& field);

}  // namespace sluice::server
