#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/access.h"
#include "server/answer.h"
#include "server/exchange.h"
#include "server/generation_fields.h"
#include "server/metrics.h"
#include "server/scheduler.h"
#include "server/server.h"
#include "server/workers.h"
#include "sluice/grammar.h"

namespace sluice::server {

class Service;

// A path and who answers it. Those that read bodies run on a worker, the others on the network's thread.
struct Endpoint {
    std::string_view method;
    std::string_view path;  // one that ends in "/*" takes any rest
    void (*handle)(Service& service, const Request& request, const std::shared_ptr<Exchange>& exchange);
    bool open = false;           // needs no key
    bool while_loading = false;  // also before the model is there
};

// The server behind the wire: who may ask what, and what every endpoint needs.
class Service final : public RequestHandler {
  public:
    explicit Service(const ServerOptions& options);

    // The model is there: requests are served from now on.
    void open(std::unique_ptr<Engine> engine);
    // No new work; running() says what is left.
    void drain();
    void give_up();

    std::optional<Response> refuse(const Request& head) override;
    void handle(Request request, std::shared_ptr<Exchange> exchange) override;
    Response malformed(const Request& head, int status, const std::string& why) override;
    void decorate(const Request& head, Response& response) override;

    // The network's thread, now and then: tells streams to say that they live.
    void tick();

    // For endpoints.
    bool ready() const { return state_ == State::kReady; }
    bool draining() const { return state_ == State::kDraining; }
    const ServerOptions& options() const { return options_; }
    const Engine* engine_if_open() const { return ready() || draining() ? engine_.get() : nullptr; }
    const Engine& engine() const { return *engine_; }
    const Tokenizer& tokenizer() const { return *engine_->tokenizer(); }
    RequestDefaults defaults() const {
        return {.sampling = engine_->defaults().sampling, .vocabulary = tokenizer().vocabulary_size()};
    }
    AnswerRoom room_after(size_t prompt_tokens) const {
        return {.context = engine_->info().context,
                .prompt = static_cast<int64_t>(prompt_tokens),
                .server_limit = options_.max_output};
    }
    std::string model() const { return engine_->info().model_name; }
    int64_t created() const { return created_; }
    Metrics& metrics() { return metrics_; }
    const GrammarCompiler& grammars() const { return *grammars_; }
    const Scheduler* scheduler() const { return engine_if_open() ? scheduler_.get() : nullptr; }
    // Whether requests may call the model so.
    bool serves(const std::string& model) const;
    // The model that the body names. Throws ApiError.
    std::string check_model(const Fields& fields) const;
    // Hands a job over; throws ApiError where there is no place.
    void submit(const std::shared_ptr<Exchange>& exchange, const std::shared_ptr<Job>& job,
                std::unique_ptr<AnswerForm> form, AnswerSetup setup);

  private:
    enum class State { kLoading, kReady, kDraining };

    std::optional<ApiError> refusal(const Request& head) const;

    const ServerOptions& options_;
    Access access_;
    Metrics metrics_;
    std::atomic<State> state_ = State::kLoading;
    int64_t created_;
    std::unique_ptr<Engine> engine_;
    std::optional<GrammarCompiler> grammars_;
    std::unique_ptr<Generator> generator_;
    std::unique_ptr<Scheduler> scheduler_;
    std::vector<std::weak_ptr<AnswerDriver>> streams_;  // the network's thread alone
    Workers workers_;                                   // last: ends first
};

}  // namespace sluice::server
