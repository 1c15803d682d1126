// POST /v1/completions

#include <algorithm>
#include <variant>

#include "server/answer.h"
#include "server/completion_fields.h"
#include "server/endpoints.h"
#include "server/openai_forms.h"
#include "server/prompt.h"

namespace sluice::server {

namespace {

// The prompt as the answer repeats it.
struct Echo {
    std::vector<TokenId> ids;
    std::string text;
};

// The four lists of the old form, which begin with the prompt's tokens where those are repeated. `offset`: of the first
// token in the text of the whole answer; moved on.
Json log_probabilities_json(const Tokenizer& tokenizer, const std::vector<TokenId>& repeated,
                            const std::vector<TokenText>& tokens, size_t& offset) {
    Json lists = {{"tokens", Json::array()},
                  {"token_logprobs", Json::array()},
                  {"top_logprobs", Json::array()},
                  {"text_offset", Json::array()}};
    const auto add = [&](TokenId id, const Json& log_probability, const Json& top) {
        const std::string text = tokenizer.decode({id});
        lists["tokens"].push_back(text);
        lists["token_logprobs"].push_back(log_probability);
        lists["top_logprobs"].push_back(top);
        lists["text_offset"].push_back(offset);
        offset += text.size();
    };
    for (const TokenId id : repeated) add(id, nullptr, nullptr);
    for (const TokenText& token : tokens) {
        Json top = Json::object();
        for (const auto& each : token.choice.top) top[tokenizer.decode({each.id})] = each.log_probability;
        add(token.id, token.choice.log_probability, top);
    }
    return lists;
}

struct Setup {
    OpenAiHead head;
    std::vector<Echo> echoes;  // of each choice, where asked for
    bool log_probabilities = false;
};

class CompletionForm : public AnswerForm {
  public:
    CompletionForm(const std::shared_ptr<Exchange>& exchange, const Request& request, Setup setup,
                   const Tokenizer& tokenizer)
        : exchange_(exchange),
          request_{.id = request.id, .path = request.path},
          setup_(std::move(setup)),
          tokenizer_(tokenizer) {}

  protected:
    Json object() const {
        return {{"id", setup_.head.id},
                {"object", "text_completion"},
                {"created", setup_.head.created},
                {"model", setup_.head.model}};
    }
    const Echo& echo(size_t index) const {
        static const Echo kNone;
        return setup_.echoes.empty() ? kNone : setup_.echoes[index];
    }

    std::shared_ptr<Exchange> exchange_;
    Request request_;
    Setup setup_;
    const Tokenizer& tokenizer_;
};

class WholeCompletion final : public CompletionForm {
  public:
    using CompletionForm::CompletionForm;

    void finish(const std::vector<ChoiceText>& choices, const Usage& usage) override {
        Json list = Json::array();
        for (size_t i = 0; i < choices.size(); ++i) {
            Json choice = {{"index", i}, {"text", echo(i).text + choices[i].content}, {"logprobs", nullptr}};
            size_t offset = 0;
            if (setup_.log_probabilities) {
                choice["logprobs"] = log_probabilities_json(tokenizer_, echo(i).ids, choices[i].tokens, offset);
            }
            choice["finish_reason"] = finish_name(choices[i].finish);
            list.push_back(std::move(choice));
        }
        Json all = object();
        all["choices"] = std::move(list);
        all["usage"] = openai_usage(usage);
        exchange_->respond({.body = to_text(all)});
    }
    void fail(const ApiError& error) override { exchange_->respond(error_response(error, request_)); }
};

class StreamedCompletion final : public CompletionForm {
  public:
    StreamedCompletion(const std::shared_ptr<Exchange>& exchange, const Request& request, Setup setup,
                       const Tokenizer& tokenizer, size_t choices)
        : CompletionForm(exchange, request, std::move(setup), tokenizer),
          stream_(exchange),
          pending_(choices),
          offsets_(choices) {}

    void begin(const Usage&) override {
        stream_.begin();
        for (size_t i = 0; i < setup_.echoes.size(); ++i) chunk(i, echo(i).text, {}, echo(i).ids);
        // A first byte at once, also where nothing is repeated.
        if (setup_.echoes.empty()) stream_.comment("accepted");
    }
    void delta(size_t index, const Delta& delta, const ChoiceText&) override { chunk(index, delta.text); }
    void tokens(size_t index, const std::vector<TokenText>& tokens) override {
        pending_[index].insert(pending_[index].end(), tokens.begin(), tokens.end());
    }
    void finish_choice(size_t index, const ChoiceText& choice) override {
        chunk(index, "", finish_name(choice.finish));
    }
    void finish(const std::vector<ChoiceText>&, const Usage& usage) override {
        end_openai_stream(stream_, setup_.head, object(), usage);
    }
    void fail(const ApiError& error) override { fail_openai_stream(stream_, error); }
    EventStream* stream() override { return &stream_; }

  private:
    void chunk(size_t index, const std::string& text, std::string_view finish = {},
               const std::vector<TokenId>& repeated = {}) {
        Json choice = {{"index", index}, {"text", text}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
        if (setup_.log_probabilities && (!repeated.empty() || !pending_[index].empty())) {
            choice["logprobs"] = log_probabilities_json(tokenizer_, repeated, pending_[index], offsets_[index]);
            pending_[index].clear();
        }
        if (!finish.empty()) choice["finish_reason"] = finish;
        Json all = object();
        all["choices"] = Json::array({std::move(choice)});
        if (setup_.head.include_usage) all["usage"] = nullptr;
        stream_.event({}, all);
    }

    EventStream stream_;
    std::vector<std::vector<TokenText>> pending_;
    std::vector<size_t> offsets_;
};

}  // namespace

void serve_completions(Service& service, const Request& http, Answering exchange) {
    const Json body = parse_body(http.body);
    const Fields fields(body);
    Setup setup;
    setup.head = {.id = new_id("cmpl-"), .model = service.check_model(fields)};
    CompletionRequest request = read_completion_request(service.defaults(), fields);
    const auto job = std::make_shared<Job>();
    size_t longest = 0;
    for (PlainPrompt& prompt : request.prompts) {
        const auto* text = std::get_if<std::string>(&prompt);
        job->prompts.push_back(text ? prompt_ids(service.engine(), *text)
                                    : std::get<std::vector<TokenId>>(std::move(prompt)));
        check_room(service.engine(), job->prompts.back().size(), "prompt");
        longest = std::max(longest, job->prompts.back().size());
    }
    job->options = std::move(request.options);
    job->options.max_tokens = answer_limit(request.max_tokens, service.room_after(longest));
    job->choices = request.choices;
    setup.log_probabilities = job->options.log_probabilities.has_value();
    for (size_t i = 0; request.echo && i < job->sequences(); ++i) {
        const std::vector<TokenId>& ids = job->prompts[i / job->choices];
        setup.echoes.push_back({ids, service.tokenizer().decode(ids)});
    }
    const bool streamed = read_streaming(fields, setup.head);
    AnswerSetup answer{.reading = {.stop = job->options.stop}, .log_probabilities = setup.log_probabilities};
    std::unique_ptr<AnswerForm> form;
    if (streamed) {
        form = std::make_unique<StreamedCompletion>(exchange, http, std::move(setup), service.tokenizer(),
                                                    job->sequences());
    } else {
        form = std::make_unique<WholeCompletion>(exchange, http, std::move(setup), service.tokenizer());
    }
    service.submit(exchange, job, std::move(form), std::move(answer));
}

}  // namespace sluice::server
