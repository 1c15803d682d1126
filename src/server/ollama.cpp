// Ollama's wire: /api/chat, /api/generate, /api/tags, /api/show, /api/version, /api/ps. Streams are JSON lines.

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <chrono>
#include <optional>

#include "server/chat_request.h"
#include "server/endpoints.h"
#include "server/ollama_fields.h"

namespace sluice::server {

namespace {

constexpr std::string_view kLines = "application/x-ndjson";

std::string timestamp(int64_t seconds) {
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(seconds));
}

// Names without a tag, and with the one that stands for none.
std::string check_model(Service& service, const Fields& fields) {
    std::string name = fields.find("model") ? fields.needed_text("model") : fields.needed_text("name");
    constexpr std::string_view kTag = ":latest";
    const std::string bare = name.ends_with(kTag) ? name.substr(0, name.size() - kTag.size()) : name;
    if (!service.serves(bare) && !service.serves(name)) throw model_not_found(name.substr(0, 200), service.model());
    return name;
}

// The pieces of the two endpoints differ in where their text stands.
struct Shape {
    Json (*piece)(const std::string& content, const std::string& thinking, const Json& calls);
};
Json chat_piece(const std::string& content, const std::string& thinking, const Json& calls) {
    Json message = {{"role", "assistant"}, {"content", content}};
    if (!thinking.empty()) message["thinking"] = thinking;
    if (!calls.empty()) message["tool_calls"] = calls;
    return {{"message", std::move(message)}};
}
Json generate_piece(const std::string& content, const std::string& thinking, const Json&) {
    Json piece = {{"response", content}};
    if (!thinking.empty()) piece["thinking"] = thinking;
    return piece;
}

Json calls_json(const std::vector<CallText>& calls) {
    Json list = Json::array();
    for (const CallText& call : calls) {
        Json arguments = Json::parse(call.arguments, nullptr, false);
        list.push_back(
            {{"function", {{"name", call.name}, {"arguments", arguments.is_object() ? arguments : Json::object()}}}});
    }
    return list;
}

class OllamaForm final : public AnswerForm {
  public:
    OllamaForm(const std::shared_ptr<Exchange>& exchange, const Request& request, std::string model, Shape shape,
               bool streamed)
        : exchange_(exchange),
          stream_(exchange),
          request_{.id = request.id, .path = request.path},
          model_(std::move(model)),
          shape_(shape),
          streamed_(streamed) {}

    void begin(const Usage&) override {
        if (!streamed_) return;
        stream_.begin(kLines);
        alive();
    }
    void delta(size_t, const Delta& delta, const ChoiceText&) override {
        if (!first_) first_ = Clock::now();
        // Calls are told whole, at the end.
        if (!streamed_ || delta.part == Part::kToolCall) return;
        const bool content = delta.part == Part::kContent;
        stream_.line(line(content ? delta.text : "", content ? "" : delta.text, {}, false));
    }
    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        const ChoiceText& choice = choices[0];
        const Json calls = calls_json(choice.calls);
        Json last = streamed_ ? line("", "", calls, true) : line(choice.content, choice.reasoning, calls, true);
        last["done_reason"] = choice.finish == Finish::kLength ? "length" : "stop";
        const Clock::time_point now = Clock::now(), first = first_.value_or(now);
        last["total_duration"] = nanoseconds(now - began_);
        last["load_duration"] = 0;
        last["prompt_eval_count"] = usage.prompt;
        last["prompt_eval_duration"] = nanoseconds(first - began_);
        last["eval_count"] = usage.completion;
        last["eval_duration"] = nanoseconds(now - first);
        if (!streamed_) return exchange_->respond({.body = to_text(last)});
        stream_.line(last);
        stream_.end();
    }
    void fail(const ApiError& error) override {
        if (!streamed_) return exchange_->respond(error_response(error, request_));
        stream_.line({{"error", error.what()}});
        stream_.end();
    }
    // JSON lines have no comments: an empty piece says it.
    void alive() override { stream_.line(line("", "", {}, false)); }
    EventStream* stream() override { return streamed_ ? &stream_ : nullptr; }
    bool comments() const override { return false; }

  private:
    using Clock = std::chrono::steady_clock;

    static int64_t nanoseconds(Clock::duration time) {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    }
    Json line(const std::string& content, const std::string& thinking, const Json& calls, bool done) const {
        Json all = {{"model", model_}, {"created_at", timestamp(std::time(nullptr))}};
        all.update(shape_.piece(content, thinking, calls));
        all["done"] = done;
        return all;
    }

    std::shared_ptr<Exchange> exchange_;
    EventStream stream_;
    Request request_;
    std::string model_;
    Shape shape_;
    bool streamed_;
    Clock::time_point began_ = Clock::now();
    std::optional<Clock::time_point> first_;  // piece of the answer
};

// A request without anything to answer asks for the model to be loaded, which it is.
void answer_loaded(Service& service, Answering exchange, const Fields& fields, Shape shape) {
    Json loaded = {{"model", check_model(service, fields)}, {"created_at", timestamp(std::time(nullptr))}};
    loaded.update(shape.piece("", "", {}));
    loaded["done"] = true;
    loaded["done_reason"] = "load";
    exchange->respond({.body = to_text(loaded)});
}

void answer(Service& service, const Request& http, Answering exchange, const Fields& fields, ChatRequest request,
            Shape shape) {
    if (request.conversation.messages.empty()) return answer_loaded(service, exchange, fields, shape);
    const bool streamed = fields.boolean("stream").value_or(true);
    auto form = std::make_unique<OllamaForm>(exchange, http, check_model(service, fields), shape, streamed);
    PreparedChat prepared = prepare(service, std::move(request));
    service.submit(exchange, prepared.job, std::move(form), std::move(prepared.setup));
}

Json model_json(const Service& service) {
    const EngineInfo& info = service.engine().info();
    return {{"name", info.model_name},
            {"model", info.model_name},
            {"modified_at", timestamp(service.created())},
            {"size", info.trunk_bytes + info.expert_bytes},
            {"digest", info.fingerprint},
            {"details",
             {{"parent_model", ""},
              {"format", "safetensors"},
              {"family", info.architecture},
              {"families", Json::array({info.architecture})},
              {"parameter_size", ""},
              {"quantization_level", info.quantization}}}};
}

}  // namespace

void serve_ollama_chat(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    answer(service, http, exchange, fields, read_ollama_chat(service.defaults(), fields), {chat_piece});
}

void serve_ollama_generate(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    answer(service, http, exchange, fields, read_ollama_generate(service.defaults(), fields), {generate_piece});
}

void serve_ollama_tags(Service& service, const Request&, Answering exchange) {
    exchange->respond({.body = to_text({{"models", Json::array({model_json(service)})}})});
}

void serve_ollama_running(Service& service, const Request&, Answering exchange) {
    Json model = model_json(service);
    model["expires_at"] = "2099-01-01T00:00:00Z";
    model["size_vram"] = 0;
    model["context_length"] = service.engine().info().context;
    exchange->respond({.body = to_text({{"models", Json::array({std::move(model)})}})});
}

void serve_ollama_show(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    check_model(service, Fields(body));
    const EngineInfo& info = service.engine().info();
    exchange->respond({.body = to_text({{"modelfile", ""},
                                        {"parameters", ""},
                                        {"template", ""},
                                        {"details", model_json(service)["details"]},
                                        {"model_info",
                                         {{"general.architecture", info.architecture},
                                          {info.architecture + ".context_length", info.context},
                                          {info.architecture + ".block_count", info.layers},
                                          {info.architecture + ".expert_count", info.experts}}},
                                        {"capabilities", {"completion", "tools"}}})});
}

void serve_ollama_version(Service& service, const Request&, Answering exchange) {
    exchange->respond({.body = to_text({{"version", service.options().version}})});
}

}  // namespace sluice::server
