// POST /v1/responses

#include <ctime>

#include "server/block_form.h"
#include "server/endpoints.h"
#include "server/responses_fields.h"

namespace sluice::server {

namespace {

// The response object with nothing in it yet: what the request said is repeated.
Json response_shell(const Json& body, const std::string& model) {
    const auto given = [&](const char* name, Json otherwise) {
        const auto at = body.find(name);
        return at == body.end() || at->is_null() ? otherwise : *at;
    };
    return {{"id", new_id("resp_")},
            {"object", "response"},
            {"created_at", static_cast<int64_t>(std::time(nullptr))},
            {"status", "in_progress"},
            {"background", false},
            {"error", nullptr},
            {"incomplete_details", nullptr},
            {"instructions", given("instructions", nullptr)},
            {"max_output_tokens", given("max_output_tokens", nullptr)},
            {"model", model},
            {"output", Json::array()},
            {"parallel_tool_calls", given("parallel_tool_calls", true)},
            {"previous_response_id", nullptr},
            {"reasoning", given("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
            {"store", false},
            {"temperature", given("temperature", nullptr)},
            {"text", given("text", {{"format", {{"type", "text"}}}})},
            {"tool_choice", given("tool_choice", "auto")},
            {"tools", given("tools", Json::array())},
            {"top_p", given("top_p", nullptr)},
            {"truncation", "disabled"},
            {"usage", nullptr},
            {"user", given("user", nullptr)},
            {"metadata", given("metadata", Json::object())}};
}

Json usage_json(const Usage& usage) {
    return {{"input_tokens", usage.prompt},
            {"input_tokens_details", {{"cached_tokens", usage.cached}}},
            {"output_tokens", usage.completion},
            {"output_tokens_details", {{"reasoning_tokens", usage.reasoning}}},
            {"total_tokens", usage.total()}};
}

Json text_part(const std::string& text) {
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
}

struct ItemName {
    std::string id = {};
    CallText call = {};
};
ItemName name_item(Part part, const CallText& call) {
    const std::string_view prefix = part == Part::kContent ? "msg_" : part == Part::kReasoning ? "rs_" : "fc_";
    return {.id = new_id(prefix), .call = call};
}

// An item as it begins (`text` null) or ended.
Json item_json(Part part, const ItemName& name, const std::string* text, const char* status) {
    if (part == Part::kContent) {
        Json content = Json::array();
        if (text != nullptr) content.push_back(text_part(*text));
        return {{"id", name.id},
                {"type", "message"},
                {"role", "assistant"},
                {"status", status},
                {"content", std::move(content)}};
    }
    if (part == Part::kReasoning) {
        Json content = Json::array();
        if (text != nullptr) content.push_back({{"type", "reasoning_text"}, {"text", *text}});
        return {{"id", name.id},
                {"type", "reasoning"},
                {"summary", Json::array()},
                {"content", std::move(content)},
                {"encrypted_content", nullptr},
                {"status", status}};
    }
    return {{"id", name.id},
            {"type", "function_call"},
            {"call_id", name.call.id},
            {"name", name.call.name},
            {"arguments", text ? *text : std::string()},
            {"status", status}};
}

const char* status_of(bool cut) {
    return cut ? "incomplete" : "completed";
}

void complete(Json& response, bool cut, const Usage& usage) {
    response["status"] = status_of(cut);
    if (cut) response["incomplete_details"] = {{"reason", "max_output_tokens"}};
    response["usage"] = usage_json(usage);
}

class StreamedResponse final : public BlockForm {
  public:
    StreamedResponse(const std::shared_ptr<Exchange>& exchange, Json shell)
        : BlockForm(exchange), response_(std::move(shell)) {}

    void begin(const Usage&) override {
        stream_.begin();
        send("response.created", {{"response", response_}});
        send("response.in_progress", {{"response", response_}});
    }
    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        const bool cut = choices[0].finish == Finish::kLength;
        complete(response_, cut, usage);
        send(cut ? "response.incomplete" : "response.completed", {{"response", response_}});
        stream_.end();
    }
    void fail(const ApiError& error) override {
        response_["status"] = "failed";
        response_["error"] = {{"code", error.code.value_or(error.type)}, {"message", error.what()}};
        send("response.failed", {{"response", response_}});
        stream_.end();
    }
    void alive() override { send("response.in_progress", {{"response", response_}}); }

  protected:
    void open_block(Part part, const CallText& call) override {
        item_ = name_item(part, call);
        send("response.output_item.added",
             {{"output_index", index()}, {"item", item_json(part, item_, nullptr, "in_progress")}});
        if (part == Part::kContent) send_in_item("response.content_part.added", {{"part", text_part("")}});
    }
    void piece(Part part, const std::string& text) override {
        if (part == Part::kContent) {
            send_in_item("response.output_text.delta", {{"delta", text}, {"logprobs", Json::array()}});
        } else if (part == Part::kReasoning) {
            send_in_item("response.reasoning_text.delta", {{"delta", text}});
        } else {
            send("response.function_call_arguments.delta",
                 {{"item_id", item_.id}, {"output_index", index()}, {"delta", text}});
        }
    }
    void close_block(Part part, const std::string& text, bool cut) override {
        if (part == Part::kContent) {
            send_in_item("response.output_text.done", {{"text", text}, {"logprobs", Json::array()}});
            send_in_item("response.content_part.done", {{"part", text_part(text)}});
        } else if (part == Part::kReasoning) {
            send_in_item("response.reasoning_text.done", {{"text", text}});
        } else {
            send("response.function_call_arguments.done",
                 {{"item_id", item_.id}, {"output_index", index()}, {"name", item_.call.name}, {"arguments", text}});
        }
        Json item = item_json(part, item_, &text, status_of(cut));
        send("response.output_item.done", {{"output_index", index()}, {"item", item}});
        response_["output"].push_back(std::move(item));
    }

  private:
    void send(const char* type, const Json& members) {
        Json event = {{"type", type}, {"sequence_number", number_++}};
        event.update(members);
        stream_.event(type, event);
    }
    void send_in_item(const char* type, const Json& members) {
        Json all = {{"item_id", item_.id}, {"output_index", index()}, {"content_index", 0}};
        all.update(members);
        send(type, all);
    }

    Json response_;
    ItemName item_;
    int64_t number_ = 0;
};

class WholeResponse final : public AnswerForm {
  public:
    WholeResponse(const std::shared_ptr<Exchange>& exchange, const Request& request, Json shell)
        : exchange_(exchange), request_{.id = request.id, .path = request.path}, response_(std::move(shell)) {}

    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        const ChoiceText& choice = choices[0];
        const bool cut = choice.finish == Finish::kLength;
        const auto add = [&](Part part, const CallText& call, const std::string& text) {
            response_["output"].push_back(item_json(part, name_item(part, call), &text, status_of(cut)));
        };
        if (!choice.reasoning.empty()) add(Part::kReasoning, {}, choice.reasoning);
        if (!choice.content.empty()) add(Part::kContent, {}, choice.content);
        for (const CallText& call : choice.calls) add(Part::kToolCall, call, call.arguments);
        complete(response_, cut, usage);
        exchange_->respond({.body = to_text(response_)});
    }
    void fail(const ApiError& error) override { exchange_->respond(error_response(error, request_)); }

  private:
    std::shared_ptr<Exchange> exchange_;
    Request request_;
    Json response_;
};

}  // namespace

void serve_responses(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    Json shell = response_shell(body, service.check_model(fields));
    ChatRequest request = read_responses_request(service.defaults(), fields);
    const bool streamed = fields.boolean("stream").value_or(false);
    PreparedChat prepared = prepare(service, std::move(request));
    std::unique_ptr<AnswerForm> form;
    if (streamed) {
        form = std::make_unique<StreamedResponse>(exchange, std::move(shell));
    } else {
        form = std::make_unique<WholeResponse>(exchange, http, std::move(shell));
    }
    service.submit(exchange, prepared.job, std::move(form), std::move(prepared.setup));
}

}  // namespace sluice::server
