// What the server says of itself: health, models, metrics, status.

#include <fmt/chrono.h>
#include <fmt/core.h>

#include "base/memory.h"
#include "server/endpoints.h"
#include "server/json.h"

namespace sluice::server {

namespace {

void respond_json(Answering exchange, const Json& value, int status = 200) {
    exchange->respond({.status = status, .body = to_text(value)});
}

// Fields of both families: OpenAI's object and Anthropic's.
Json model_json(const Service& service, const std::string& id) {
    const EngineInfo& info = service.engine().info();
    return {{"id", id},
            {"object", "model"},
            {"created", service.created()},
            {"owned_by", "sluice"},
            {"context_length", info.context},
            {"max_model_len", info.context},
            {"type", "model"},
            {"display_name", info.model_name},
            {"created_at", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(service.created()))}};
}

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

Json streams_json(const Scheduler& scheduler) {
    Json streams = Json::array();
    for (const SequenceStatus& each : scheduler.sequences()) {
        const std::string_view state = !each.running                         ? "queued"
                                       : each.prefilled < each.prompt_tokens ? "prefill"
                                                                             : "decode";
        streams.push_back({{"state", state},
                           {"prompt_tokens", each.prompt_tokens},
                           {"prefilled", each.prefilled},
                           {"generated", each.generated},
                           {"seconds", each.seconds}});
    }
    return streams;
}

Json experts_json(const ExpertCounters& experts, uint64_t tokens) {
    const auto hits = static_cast<double>(experts.hits), misses = static_cast<double>(experts.misses);
    return {{"hits", experts.hits},
            {"misses", experts.misses},
            {"hit_rate", ratio(hits, hits + misses)},
            {"bytes_read", experts.bytes_read},
            {"bytes_per_token", ratio(static_cast<double>(experts.bytes_read), static_cast<double>(tokens))},
            {"stall_s", experts.stall_seconds}};
}

}  // namespace

void serve_health(Service& service, const Request&, Answering exchange) {
    if (service.ready()) return respond_json(exchange, {{"status", "ok"}});
    respond_json(exchange, {{"status", service.draining() ? "draining" : "loading"}}, 503);
}

void serve_liveness(Service&, const Request&, Answering exchange) {
    respond_json(exchange, {{"status", "ok"}});
}

void serve_models(Service& service, const Request&, Answering exchange) {
    const std::string id = service.model();
    // `models` is where Codex looks for its own kind of list, and finds that there is none.
    respond_json(exchange, {{"object", "list"},
                            {"data", Json::array({model_json(service, id)})},
                            {"models", Json::array()},
                            {"has_more", false},
                            {"first_id", id},
                            {"last_id", id}});
}

void serve_model(Service& service, const Request& request, Answering exchange) {
    const std::string id = request.path.substr(std::string_view("/v1/models/").size());
    if (!service.serves(id)) throw model_not_found(id.substr(0, 200), service.model());
    respond_json(exchange, model_json(service, id));
}

void serve_metrics(Service& service, const Request&, Answering exchange) {
    ServerGauges gauges{.version = service.options().version};
    if (const Scheduler* scheduler = service.scheduler()) {
        gauges.running = scheduler->running();
        gauges.waiting = scheduler->waiting();
    }
    exchange->respond({.type = "text/plain; version=0.0.4; charset=utf-8",
                       .body = service.metrics().prometheus(service.engine_if_open(), gauges)});
}

void serve_status(Service& service, const Request&, Answering exchange) {
    const Engine& engine = service.engine();
    const EngineInfo& info = engine.info();
    const EngineStatistics statistics = engine.statistics();
    const ServerTotals totals = service.metrics().totals();
    const ServerRates rates = service.metrics().rates(statistics.experts.bytes_read);
    const Scheduler& scheduler = *service.scheduler();
    uint64_t kv_tokens = 0;
    for (const SequenceStatus& each : scheduler.sequences()) {
        kv_tokens += static_cast<uint64_t>(each.prefilled + each.generated);
    }
    respond_json(
        exchange,
        {{"model", service.model()},
         {"version", service.options().version},
         {"uptime_s", service.metrics().uptime_seconds()},
         {"context", info.context},
         {"slots", service.options().slots},
         {"requests",
          {{"running", scheduler.running()},
           {"waiting", scheduler.waiting()},
           {"total", totals.requests},
           {"cancelled", totals.cancelled}}},
         {"tokens",
          {{"prompt", totals.prompt_tokens}, {"cached", totals.cached_tokens}, {"generated", totals.generated_tokens}}},
         {"rates",
          {{"prefill_tokens_per_s", rates.prefill_tokens_per_s}, {"decode_tokens_per_s", rates.decode_tokens_per_s}}},
         {"experts", experts_json(statistics.experts, statistics.tokens_evaluated)},
         {"drive", {{"bytes_per_second", rates.bytes_per_s}}},
         {"memory",
          {{"resident_bytes", resident_bytes()},
           {"limit_bytes", info.ram_bytes},
           {"cache_bytes", statistics.cache_bytes},
           {"kv_bytes", kv_tokens * info.kv_bytes_per_token}}},
         {"heat", engine.expert_use()},
         {"streams", streams_json(scheduler)}});
}

}  // namespace sluice::server
