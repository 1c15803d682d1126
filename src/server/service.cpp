#include "server/service.h"

#include <algorithm>
#include <cctype>
#include <ctime>

#include "base/log.h"
#include "server/endpoints.h"

namespace sluice::server {

namespace {

// Long prompts are tokenized one beside another, and short ones beside them.
constexpr size_t kWorkers = 3;

bool is_json(std::string_view content_type) {
    std::string type(content_type.substr(0, content_type.find(';')));
    while (!type.empty() && type.back() == ' ') type.pop_back();
    for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return type == "application/json";
}

}  // namespace

Service::Service(const ServerOptions& options)
    : options_(options), access_(options), created_(std::time(nullptr)), workers_(kWorkers) {}

void Service::open(std::unique_ptr<Engine> engine) {
    engine_ = std::move(engine);
    grammars_.emplace(*engine_->tokenizer(), GrammarCompilerOptions{.end_tokens = engine_->defaults().eos_ids});
    generator_ = std::make_unique<EngineGenerator>(*engine_);
    scheduler_ = std::make_unique<Scheduler>(*generator_,
                                             SchedulerLimits{.slots = static_cast<size_t>(options_.slots),
                                                             .queue = static_cast<size_t>(options_.queue),
                                                             .context = engine_->info().context,
                                                             .kv_tokens = engine_->info().session_tokens},
                                             metrics_);
    state_ = State::kReady;
}

void Service::drain() {
    scheduler_->close();
    state_ = State::kDraining;
}

void Service::give_up() {
    scheduler_->give_up(std::make_exception_ptr(not_ready(true)));
}

std::optional<ApiError> Service::refusal(const Request& head) const {
    const Endpoint* endpoint = find_endpoint(head.method, head.path);
    const std::string methods = methods_of(head.path);
    const bool open = endpoint != nullptr && endpoint->open;
    if (auto error = access_.refuse(head, open)) return error;
    if (head.method == "OPTIONS" && !methods.empty()) return {};
    if (methods.empty()) return no_such_endpoint(head.path);
    if (endpoint == nullptr) return wrong_method(head.method, head.path, methods);
    if (endpoint->method == "POST" && head.has("content-type") && !is_json(head.header("content-type"))) {
        return ApiError(415, "Content-Type: application/json is needed; curl: -H 'content-type: application/json'");
    }
    if (state_ == State::kLoading && !endpoint->while_loading) return not_ready(false);
    if (state_ == State::kDraining && endpoint->method == "POST") return not_ready(true);
    return {};
}

std::optional<Response> Service::refuse(const Request& head) {
    if (const auto error = refusal(head)) return error_response(*error, head);
    return {};
}

void Service::handle(Request request, std::shared_ptr<Exchange> exchange) {
    if (request.method == "OPTIONS") {
        Response response{.status = 204, .type = ""};
        response.headers.emplace_back("allow", methods_of(request.path));
        return exchange->respond(std::move(response));
    }
    const Endpoint& endpoint = *find_endpoint(request.method, request.path);
    auto answer = [this, &endpoint, request = std::move(request), exchange = std::move(exchange)] {
        try {
            endpoint.handle(*this, request, exchange);
        } catch (...) {
            const ApiError error = current_error();
            if (error.status >= 500) log_warning("serve: {} {}: {}", request.method, endpoint.path, error.what());
            exchange->respond(error_response(error, request));
        }
    };
    endpoint.method == "GET" ? answer() : workers_.run(std::move(answer));
}

Response Service::malformed(const Request& head, int status, const std::string& why) {
    return error_response(ApiError(status, why), head);
}

void Service::decorate(const Request& head, Response& response) {
    response.headers.emplace_back("x-request-id", head.id);
    if (error_form(head.path).second_id_header) response.headers.emplace_back("request-id", head.id);
    response.headers.emplace_back("x-content-type-options", "nosniff");
    access_.add_cors_headers(head, response);
    metrics_.request(std::string(endpoint_label(head.path)), response.status);
}

bool Service::serves(const std::string& name) const {
    return name == model() || std::ranges::any_of(options_.aliases, [&](const std::string& alias) {
               return alias == "*" || alias == name;
           });
}

std::string Service::check_model(const Fields& fields) const {
    const std::string& name = fields.needed_text("model");
    if (!serves(name)) throw model_not_found(name.substr(0, 200), model());
    return name;
}

void Service::submit(const std::shared_ptr<Exchange>& exchange, const std::shared_ptr<Job>& job,
                     std::unique_ptr<AnswerForm> form, AnswerSetup setup) {
    const auto driver = std::make_shared<AnswerDriver>(exchange, std::move(form), tokenizer(), std::move(setup), job);
    job->listener = driver;
    scheduler_->submit(job, [&] {
        exchange->post([this, driver] { streams_.push_back(driver); });
        driver->begin(
            [this, weak = std::weak_ptr(job)] {
                if (const auto ended = weak.lock()) scheduler_->cancel(*ended);
            },
            [this] { metrics_.cancelled(); });
    });
}

void Service::tick() {
    std::erase_if(streams_, [](const auto& each) {
        const auto driver = each.lock();
        return driver == nullptr || driver->done();
    });
    for (const auto& each : streams_) each.lock()->tick(options_.keepalive_s);
}

}  // namespace sluice::server
