#pragma once

#include "server/chat_request.h"
#include "server/generation_fields.h"
#include "server/json.h"

namespace sluice::server {

// What a body of /v1/messages says, but for how long the answer may be.
ChatRequest read_messages_request(const RequestDefaults& defaults, const Fields& fields);

}  // namespace sluice::server
