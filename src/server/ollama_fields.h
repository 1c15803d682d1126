#pragma once

#include "server/chat_request.h"
#include "server/generation_fields.h"
#include "server/json.h"

namespace sluice::server {

// What bodies of /api/chat and /api/generate say. Without messages where there is nothing to answer.
ChatRequest read_ollama_chat(const RequestDefaults& defaults, const Fields& fields);
ChatRequest read_ollama_generate(const RequestDefaults& defaults, const Fields& fields);

}  // namespace sluice::server
