// POST /tokenize and /detokenize

#include <fmt/core.h>

#include "server/endpoints.h"
#include "server/json.h"
#include "server/prompt.h"

namespace sluice::server {

void serve_tokenize(Service& service, const Request& request, Answering exchange) {
    const Json body = parse_body(request.body);
    const Fields fields(body);
    const std::string* text = fields.text("content");
    if (text == nullptr) text = fields.text("prompt");
    if (text == nullptr) fields.fail("content", "is missing; a string is needed");
    const bool special = fields.boolean("parse_special").value_or(true);
    const std::vector<TokenId> ids = token_ids(service.tokenizer(), *text, special);
    exchange->respond({.body = to_text({{"tokens", ids}, {"count", ids.size()}})});
}

void serve_detokenize(Service& service, const Request& request, Answering exchange) {
    const Json body = parse_body(request.body);
    const Fields fields(body);
    const Json* list = fields.array("tokens");
    if (list == nullptr) fields.fail("tokens", "is missing; an array of token ids is needed");
    const auto vocabulary = static_cast<int64_t>(service.tokenizer().vocabulary_size());
    std::vector<TokenId> ids;
    for (const Json& each : *list) {
        if (!each.is_number_integer() || each.get<int64_t>() < 0 || each.get<int64_t>() >= vocabulary) {
            fields.fail("tokens", fmt::format("token ids must be integers below {}", vocabulary));
        }
        ids.push_back(each.get<TokenId>());
    }
    exchange->respond({.body = to_text({{"content", service.tokenizer().decode(ids)}})});
}

}  // namespace sluice::server
