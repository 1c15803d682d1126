// GET /: the page.

#include "server/page.h"

#include <fmt/core.h>

#include <algorithm>

#include "server/endpoints.h"

namespace sluice::server {

void serve_page(Service&, const Request&, Answering exchange) {
    // Scripts and styles run for the nonce alone, which no text of a message can know.
    const std::string nonce = new_id("");
    constexpr std::string_view kMark = "{{nonce}}";
    Response response{.type = "text/html; charset=utf-8"};
    for (size_t at = 0; at < kPageText.size();) {
        const size_t mark = std::min(kPageText.find(kMark, at), kPageText.size());
        response.body.append(kPageText.substr(at, mark - at));
        if (mark < kPageText.size()) response.body += nonce;
        at = mark + kMark.size();
    }
    response.headers = {
        {"content-security-policy",
         fmt::format("default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; "
                     "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
                     nonce)},
        {"referrer-policy", "no-referrer"},
        {"cache-control", "no-cache"}};
    exchange->respond(std::move(response));
}

}  // namespace sluice::server
