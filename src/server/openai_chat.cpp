// POST /v1/chat/completions

#include "server/chat_request.h"
#include "server/endpoints.h"
#include "server/openai_fields.h"
#include "server/openai_forms.h"

namespace sluice::server {

void serve_chat_completions(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    OpenAiHead head{.id = new_id("chatcmpl-"), .model = service.check_model(fields)};
    ChatRequest request = read_chat_request(service.defaults(), fields);
    const bool streamed = read_streaming(fields, head);
    PreparedChat prepared = prepare(service, std::move(request));
    auto form = streamed ? stream_chat(exchange, head, service.tokenizer(), prepared.job->sequences())
                         : whole_chat(exchange, http, head, service.tokenizer());
    service.submit(exchange, prepared.job, std::move(form), std::move(prepared.setup));
}

}  // namespace sluice::server
