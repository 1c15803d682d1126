#pragma once

#include "server/chat_request.h"
#include "server/json.h"

namespace sluice::server {

// What a body of /v1/messages says, but for how long the answer may be.
ChatRequest read_messages_request(Service& service, const Fields& fields);

}  // namespace sluice::server
