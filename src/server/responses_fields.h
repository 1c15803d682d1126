#pragma once

#include "server/chat_request.h"
#include "server/generation_fields.h"
#include "server/json.h"

namespace sluice::server {

// What a body of /v1/responses says. Nothing is kept between requests: what refers to earlier ones is refused.
ChatRequest read_responses_request(const RequestDefaults& defaults, const Fields& fields);

}  // namespace sluice::server
