#pragma once

#include "server/chat_request.h"
#include "server/json.h"

namespace sluice::server {

// What a body of /v1/responses says. Nothing is kept between requests: what refers to earlier ones is refused.
ChatRequest read_responses_request(Service& service, const Fields& fields);

}  // namespace sluice::server
