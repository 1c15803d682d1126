// POST /v1/messages and /v1/messages/count_tokens

#include <limits>

#include "server/anthropic_fields.h"
#include "server/block_form.h"
#include "server/endpoints.h"

namespace sluice::server {

namespace {

struct Head {
    std::string id = {};
    std::string model = {};
    std::string request_id = {};
};

std::string_view stop_reason(const ChoiceText& choice) {
    if (!choice.stop.empty()) return "stop_sequence";
    if (choice.finish == Finish::kLength) return "max_tokens";
    return choice.finish == Finish::kToolCalls ? "tool_use" : "end_turn";
}

Json stop_json(const ChoiceText& choice) {
    Json stop = {{"stop_reason", stop_reason(choice)}, {"stop_sequence", nullptr}};
    if (!choice.stop.empty()) stop["stop_sequence"] = choice.stop;
    return stop;
}

// Without the cached ones, as this API counts.
Json usage_json(const Usage& usage) {
    return {{"input_tokens", usage.prompt - usage.cached},
            {"cache_creation_input_tokens", 0},
            {"cache_read_input_tokens", usage.cached},
            {"output_tokens", usage.completion}};
}

Json message_json(const Head& head) {
    return {{"id", head.id},           {"type", "message"},        {"role", "assistant"},
            {"model", head.model},     {"content", Json::array()}, {"stop_reason", nullptr},
            {"stop_sequence", nullptr}};
}

Json block_json(Part part, const CallText& call) {
    if (part == Part::kContent) return {{"type", "text"}, {"text", ""}};
    if (part == Part::kReasoning) return {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
    return {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", Json::object()}};
}

class StreamedMessage final : public BlockForm {
  public:
    StreamedMessage(const std::shared_ptr<Exchange>& exchange, Head head)
        : BlockForm(exchange), head_(std::move(head)) {}

    void begin(const Usage& expected) override {
        stream_.begin();
        Json message = message_json(head_);
        message["usage"] = usage_json(expected);
        send("message_start", {{"message", std::move(message)}});
    }
    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        send("message_delta", {{"delta", stop_json(choices[0])}, {"usage", usage_json(usage)}});
        send("message_stop", Json::object());
        stream_.end();
    }
    void fail(const ApiError& error) override {
        stream_.event("error", Json::parse(anthropic_error_body(error, head_.request_id)));
        stream_.end();
    }
    void alive() override { send("ping", Json::object()); }

  protected:
    void open_block(Part part, const CallText& call) override {
        send("content_block_start", {{"index", index()}, {"content_block", block_json(part, call)}});
    }
    void piece(Part part, const std::string& text) override {
        part == Part::kContent     ? block_delta({{"type", "text_delta"}, {"text", text}})
        : part == Part::kReasoning ? block_delta({{"type", "thinking_delta"}, {"thinking", text}})
                                   : block_delta({{"type", "input_json_delta"}, {"partial_json", text}});
    }
    void close_block(Part part, const std::string&, bool) override {
        // Nothing is signed here, and clients want to see that the block is.
        if (part == Part::kReasoning) block_delta({{"type", "signature_delta"}, {"signature", new_id("sluice_")}});
        send("content_block_stop", {{"index", index()}});
    }
    void no_block() override {
        open_block(Part::kContent, {});
        send("content_block_stop", {{"index", index()}});
    }

  private:
    void send(const char* type, const Json& members) {
        Json event = {{"type", type}};
        event.update(members);
        stream_.event(type, event);
    }
    void block_delta(Json delta) { send("content_block_delta", {{"index", index()}, {"delta", std::move(delta)}}); }

    Head head_;
};

Json content_json(const ChoiceText& choice) {
    Json content = Json::array();
    if (!choice.reasoning.empty()) {
        content.push_back({{"type", "thinking"}, {"thinking", choice.reasoning}, {"signature", new_id("sluice_")}});
    }
    if (!choice.content.empty()) content.push_back({{"type", "text"}, {"text", choice.content}});
    for (const CallText& call : choice.calls) {
        Json block = block_json(Part::kToolCall, call);
        Json input = Json::parse(call.arguments, nullptr, false);
        if (input.is_object()) block["input"] = std::move(input);
        content.push_back(std::move(block));
    }
    if (content.empty()) content.push_back(block_json(Part::kContent, {}));
    return content;
}

class WholeMessage final : public AnswerForm {
  public:
    WholeMessage(const std::shared_ptr<Exchange>& exchange, const Request& request, Head head)
        : exchange_(exchange), request_{.id = request.id, .path = request.path}, head_(std::move(head)) {}

    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        Json message = message_json(head_);
        message["content"] = content_json(choices[0]);
        message.update(stop_json(choices[0]));
        message["usage"] = usage_json(usage);
        exchange_->respond({.body = to_text(message)});
    }
    void fail(const ApiError& error) override { exchange_->respond(error_response(error, request_)); }

  private:
    std::shared_ptr<Exchange> exchange_;
    Request request_;
    Head head_;
};

}  // namespace

void serve_messages(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    Head head{.id = new_id("msg_"), .model = service.check_model(fields), .request_id = http.id};
    const auto most = fields.integer("max_tokens", 1, std::numeric_limits<int64_t>::max());
    if (!most) fields.fail("max_tokens", "is missing; an integer of at least 1 is needed");
    const bool streamed = fields.boolean("stream").value_or(false);
    ChatRequest request = read_messages_request(service.defaults(), fields);
    request.max_tokens = most;
    PreparedChat prepared = prepare(service, std::move(request));
    std::unique_ptr<AnswerForm> form;
    if (streamed) {
        form = std::make_unique<StreamedMessage>(exchange, std::move(head));
    } else {
        form = std::make_unique<WholeMessage>(exchange, http, std::move(head));
    }
    service.submit(exchange, prepared.job, std::move(form), std::move(prepared.setup));
}

void serve_count_tokens(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    service.check_model(fields);
    const ChatRequest request = read_messages_request(service.defaults(), fields);
    exchange->respond({.body = to_text({{"input_tokens", chat_prompt(service, request).ids.size()}})});
}

}  // namespace sluice::server
