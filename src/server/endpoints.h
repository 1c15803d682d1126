#pragma once

#include <span>
#include <string>

#include "server/service.h"

namespace sluice::server {

std::span<const Endpoint> endpoints();

// The endpoint of a path and method; HEAD counts as GET. Null where there is none.
const Endpoint* find_endpoint(std::string_view method, std::string_view path);
// "GET, HEAD, OPTIONS"; empty for a path that is unknown.
std::string methods_of(std::string_view path);
// The endpoint's path as it stands in the table, for a label; "other" where there is none.
std::string_view endpoint_label(std::string_view path);

// Handlers, each in the file of its API.
using Answering = const std::shared_ptr<Exchange>&;
void serve_health(Service& service, const Request& request, Answering exchange);
void serve_liveness(Service& service, const Request& request, Answering exchange);
void serve_models(Service& service, const Request& request, Answering exchange);
void serve_model(Service& service, const Request& request, Answering exchange);
void serve_metrics(Service& service, const Request& request, Answering exchange);
void serve_status(Service& service, const Request& request, Answering exchange);
void serve_tokenize(Service& service, const Request& request, Answering exchange);
void serve_detokenize(Service& service, const Request& request, Answering exchange);
void serve_chat_completions(Service& service, const Request& request, Answering exchange);
void serve_completions(Service& service, const Request& request, Answering exchange);
void serve_responses(Service& service, const Request& request, Answering exchange);
void serve_messages(Service& service, const Request& request, Answering exchange);
void serve_count_tokens(Service& service, const Request& request, Answering exchange);
void serve_ollama_chat(Service& service, const Request& request, Answering exchange);
void serve_ollama_generate(Service& service, const Request& request, Answering exchange);
void serve_ollama_tags(Service& service, const Request& request, Answering exchange);
void serve_ollama_show(Service& service, const Request& request, Answering exchange);
void serve_ollama_version(Service& service, const Request& request, Answering exchange);
void serve_ollama_running(Service& service, const Request& request, Answering exchange);
void serve_page(Service& service, const Request& request, Answering exchange);

}  // namespace sluice::server
