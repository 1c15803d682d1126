#include <fmt/core.h>

#include "server/openai_forms.h"

namespace sluice::server {

namespace {

Json token_json(const Tokenizer& tokenizer, TokenId id, float log_probability) {
    const std::string bytes = tokenizer.token_bytes(id);
    Json list = Json::array();
    for (const char c : bytes) list.push_back(static_cast<int>(static_cast<unsigned char>(c)));
    return {{"token", tokenizer.decode({id})}, {"logprob", log_probability}, {"bytes", std::move(list)}};
}

Json log_probabilities_json(const Tokenizer& tokenizer, const std::vector<TokenText>& tokens) {
    Json content = Json::array();
    for (const TokenText& token : tokens) {
        Json entry = token_json(tokenizer, token.id, token.choice.log_probability);
        entry["top_logprobs"] = Json::array();
        for (const TokenLogProbability& top : token.choice.top) {
            entry["top_logprobs"].push_back(token_json(tokenizer, top.id, top.log_probability));
        }
        content.push_back(std::move(entry));
    }
    return {{"content", std::move(content)}, {"refusal", nullptr}};
}

// A delta's members; of a call that begins, without its empty text.
Json delta_json(const Delta& delta, const ChoiceText& choice) {
    if (delta.part == Part::kContent) return {{"content", delta.text}};
    if (delta.part == Part::kReasoning) return {{"reasoning_content", delta.text}};
    Json call = {{"index", delta.call}};
    if (!delta.name.empty()) {
        call["id"] = choice.calls[delta.call].id;
        call["type"] = "function";
        call["function"] = {{"name", delta.name}, {"arguments", ""}};
    } else {
        call["function"] = {{"arguments", delta.text}};
    }
    return {{"tool_calls", Json::array({std::move(call)})}};
}

class StreamedChat final : public AnswerForm {
  public:
    StreamedChat(const std::shared_ptr<Exchange>& exchange, const OpenAiHead& head, const Tokenizer& tokenizer,
                 size_t choices)
        : stream_(exchange), head_(head), tokenizer_(tokenizer), pending_(choices) {}

    void begin(const Usage&) override {
        stream_.begin();
        for (size_t i = 0; i < pending_.size(); ++i) chunk(i, {{"role", "assistant"}, {"content", ""}});
    }
    void delta(size_t index, const Delta& delta, const ChoiceText& choice) override {
        chunk(index, delta_json(delta, choice));
    }
    void tokens(size_t index, const std::vector<TokenText>& tokens) override {
        pending_[index].insert(pending_[index].end(), tokens.begin(), tokens.end());
    }
    void finish_choice(size_t index, const ChoiceText& choice) override {
        if (!pending_[index].empty()) chunk(index, {{"content", ""}});
        chunk(index, Json::object(), finish_name(choice.finish));
    }
    void finish(const std::vector<ChoiceText>&, const Usage& usage) override {
        end_openai_stream(stream_, head_, object(), usage);
    }
    void fail(const ApiError& error) override { fail_openai_stream(stream_, error); }
    EventStream* stream() override { return &stream_; }

  private:
    Json object() const {
        return {
            {"id", head_.id}, {"object", "chat.completion.chunk"}, {"created", head_.created}, {"model", head_.model}};
    }
    void chunk(size_t index, Json delta, std::string_view finish = {}) {
        Json choice = {
            {"index", index}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
        if (!pending_[index].empty()) {
            choice["logprobs"] = log_probabilities_json(tokenizer_, pending_[index]);
            pending_[index].clear();
        }
        if (!finish.empty()) choice["finish_reason"] = finish;
        Json all = object();
        all["choices"] = Json::array({std::move(choice)});
        if (head_.include_usage) all["usage"] = nullptr;
        stream_.event({}, all);
    }

    EventStream stream_;
    OpenAiHead head_;
    const Tokenizer& tokenizer_;
    std::vector<std::vector<TokenText>> pending_;  // whose log-probabilities go with the next piece of their choice
};

Json message_json(const ChoiceText& choice) {
    Json message = {{"role", "assistant"}, {"content", choice.content}, {"refusal", nullptr}};
    if (!choice.reasoning.empty()) message["reasoning_content"] = choice.reasoning;
    if (choice.calls.empty()) return message;
    if (choice.content.empty()) message["content"] = nullptr;
    message["tool_calls"] = Json::array();
    for (const CallText& call : choice.calls) {
        message["tool_calls"].push_back({{"id", call.id},
                                         {"type", "function"},
                                         {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
    return message;
}

class WholeChat final : public AnswerForm {
  public:
    WholeChat(const std::shared_ptr<Exchange>& exchange, const Request& request, const OpenAiHead& head,
              const Tokenizer& tokenizer)
        : exchange_(exchange), request_{.id = request.id, .path = request.path}, head_(head), tokenizer_(tokenizer) {}

    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        Json list = Json::array();
        for (size_t i = 0; i < choices.size(); ++i) {
            Json choice = {{"index", i}, {"message", message_json(choices[i])}, {"logprobs", nullptr}};
            if (!choices[i].tokens.empty()) choice["logprobs"] = log_probabilities_json(tokenizer_, choices[i].tokens);
            choice["finish_reason"] = finish_name(choices[i].finish);
            list.push_back(std::move(choice));
        }
        exchange_->respond({.body = to_text({{"id", head_.id},
                                             {"object", "chat.completion"},
                                             {"created", head_.created},
                                             {"model", head_.model},
                                             {"choices", std::move(list)},
                                             {"usage", openai_usage(usage)}})});
    }
    void fail(const ApiError& error) override { exchange_->respond(error_response(error, request_)); }

  private:
    std::shared_ptr<Exchange> exchange_;
    Request request_;
    OpenAiHead head_;
    const Tokenizer& tokenizer_;
};

}  // namespace

bool read_streaming(const Fields& fields, OpenAiHead& head) {
    const bool streamed = fields.boolean("stream").value_or(false);
    const Json* options = fields.object("stream_options");
    if (options == nullptr) return streamed;
    if (!streamed) fields.fail("stream_options", "is only for streams (stream: true)");
    head.include_usage = Fields(*options, "stream_options").boolean("include_usage").value_or(false);
    return streamed;
}

Json openai_usage(const Usage& usage) {
    return {{"prompt_tokens", usage.prompt},
            {"completion_tokens", usage.completion},
            {"total_tokens", usage.total()},
            {"prompt_tokens_details", {{"cached_tokens", usage.cached}}},
            {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning}}}};
}

std::string_view finish_name(Finish finish) {
    return finish == Finish::kStop ? "stop" : finish == Finish::kLength ? "length" : "tool_calls";
}

void end_openai_stream(EventStream& stream, const OpenAiHead& head, Json object, const Usage& usage) {
    if (head.include_usage) {
        object["choices"] = Json::array();
        object["usage"] = openai_usage(usage);
        stream.event({}, object);
    }
    stream.data("[DONE]");
    stream.end();
}

void fail_openai_stream(EventStream& stream, const ApiError& error) {
    stream.data(openai_error_body(error, {}));
    stream.end();
}

std::unique_ptr<AnswerForm> stream_chat(const std::shared_ptr<Exchange>& exchange, const OpenAiHead& head,
                                        const Tokenizer& tokenizer, size_t choices) {
    return std::make_unique<StreamedChat>(exchange, head, tokenizer, choices);
}

std::unique_ptr<AnswerForm> whole_chat(const std::shared_ptr<Exchange>& exchange, const Request& request,
                                       const OpenAiHead& head, const Tokenizer& tokenizer) {
    return std::make_unique<WholeChat>(exchange, request, head, tokenizer);
}

}  // namespace sluice::server
