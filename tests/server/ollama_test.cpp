// Ollama's wire from a request to the last line, over the bundled model.

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "server/service.h"
#include "tests/server/recorded_exchange.h"
#include "tests/support/source_file.h"

namespace sluice::server {
namespace {

// What would be sent, once it is complete. What is posted runs on the threads that post it, one at a time.
class AwaitedExchange final : public Exchange {
  public:
    void respond(Response response) override {
        with([&] { recorded_.respond(std::move(response)); });
    }
    void begin_stream(Response head) override {
        with([&] { recorded_.begin_stream(std::move(head)); });
    }
    void write(std::string bytes) override {
        with([&] { recorded_.write(std::move(bytes)); });
    }
    void end() override {
        with([&] { recorded_.end(); });
    }
    size_t unsent() const override { return 0; }
    void on_gone(std::function<void()>) override {}
    void post(std::function<void()> action) override { with(action); }

    const RecordedExchange& wait() {
        std::unique_lock lock(mutex_);
        const bool complete = changed_.wait_for(lock, std::chrono::seconds(60),
                                                [this] { return recorded_.whole.has_value() || recorded_.ended; });
        EXPECT_TRUE(complete);
        return recorded_;
    }

  private:
    template <typename Action>
    void with(const Action& action) {
        const std::lock_guard lock(mutex_);
        action();
        changed_.notify_all();
    }

    std::recursive_mutex mutex_;
    std::condition_variable_any changed_;
    RecordedExchange recorded_;
};

class OllamaTest : public ::testing::Test {
  protected:
    void SetUp() override {
        EngineOptions engine;
        engine.threads = 1;
        engine.ram_bytes = uint64_t{400} << 20;
        service.open(Engine::open(sluice::testing::source_file("/models/stories-hybrid"), engine));
        model = service.model();
    }
    const RecordedExchange& ask(const std::string& method, const std::string& path, const Json& body = {}) {
        exchanges.push_back(std::make_shared<AwaitedExchange>());
        Request request{.id = "req_1", .method = method, .path = path};
        if (!body.is_null()) request.body = to_text(body);
        service.handle(std::move(request), exchanges.back());
        return exchanges.back()->wait();
    }
    Json whole(const std::string& method, const std::string& path, const Json& body = {}, int status = 200) {
        const RecordedExchange& answer = ask(method, path, body);
        if (!answer.whole) return nullptr;
        EXPECT_EQ(answer.whole->status, status) << answer.whole->body;
        return Json::parse(answer.whole->body);
    }
    std::vector<Json> lines(const std::string& path, const Json& body) {
        std::vector<Json> all;
        const std::string text = ask("POST", path, body).stream;
        for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
            all.push_back(Json::parse(text.substr(at, text.find('\n', at) - at)));
        }
        return all;
    }
    Json chat(const std::string& text) const {
        return {{"model", model},
                {"messages", Json::array({{{"role", "user"}, {"content", text}}})},
                {"options", {{"temperature", 0}, {"num_predict", 12}}}};
    }

    ServerOptions options;
    Service service{options};
    std::string model;
    std::vector<std::shared_ptr<AwaitedExchange>> exchanges;
};

TEST_F(OllamaTest, StreamsLinesWhoseTextIsThatOfTheOtherApis) {
    const std::vector<Json> all = lines("/api/chat", chat("Tell me a story."));
    ASSERT_GT(all.size(), 2u);
    std::string content;
    for (const Json& line : all) {
        EXPECT_EQ(line["model"], model);
        EXPECT_EQ(line["created_at"].get<std::string>().back(), 'Z');
        EXPECT_EQ(line["message"]["role"], "assistant");
        EXPECT_EQ(line["done"].get<bool>(), &line == &all.back());
        content += line["message"]["content"];
    }
    const Json& last = all.back();
    EXPECT_EQ(last["done_reason"], "length");
    EXPECT_EQ(last["eval_count"], 12);
    EXPECT_GT(last["prompt_eval_count"], 0);
    EXPECT_GE(last["total_duration"], last["eval_duration"]);

    const Json openai = whole(
        "POST", "/v1/chat/completions",
        {{"model", model}, {"messages", chat("Tell me a story.")["messages"]}, {"temperature", 0}, {"max_tokens", 12}});
    EXPECT_EQ(Json(content), openai["choices"][0]["message"]["content"]);
    EXPECT_EQ(last["prompt_eval_count"], openai["usage"]["prompt_tokens"]);

    Json body = chat("Tell me a story.");
    body["stream"] = false;
    EXPECT_EQ(whole("POST", "/api/chat", body)["message"]["content"], content);
    body["model"] = model + ":latest";
    EXPECT_EQ(whole("POST", "/api/chat", body)["message"]["content"], content);
    const Json generated = whole("POST", "/api/generate",
                                 {{"model", model},
                                  {"prompt", "Tell me a story."},
                                  {"stream", false},
                                  {"options", {{"temperature", 0}, {"num_predict", 12}}}});
    EXPECT_EQ(generated["response"], content);
}

TEST_F(OllamaTest, FormatsAreKept) {
    Json body = chat("Who?");
    body["stream"] = false;
    body["options"]["num_predict"] = 60;
    body["format"] = {{"type", "object"},
                      {"properties", {{"age", {{"type", "integer"}, {"minimum", 1}, {"maximum", 99}}}}},
                      {"required", {"age"}},
                      {"additionalProperties", false}};
    const Json answer = whole("POST", "/api/chat", body);
    EXPECT_EQ(answer["done_reason"], "stop");
    const Json content = Json::parse(answer["message"]["content"].get<std::string>());
    EXPECT_EQ(content.size(), 1u);
    EXPECT_GE(content["age"], 1);
    EXPECT_LE(content["age"], 99);
}

TEST_F(OllamaTest, SaysWhatThereIs) {
    EXPECT_EQ(whole("GET", "/api/tags")["models"][0]["name"], model);
    EXPECT_EQ(whole("GET", "/api/ps")["models"][0]["model"], model);
    EXPECT_TRUE(whole("GET", "/api/version")["version"].is_string());
    EXPECT_EQ(whole("POST", "/api/show", {{"model", model}})["capabilities"][0], "completion");
    const Json loaded = whole("POST", "/api/generate", {{"model", model}});
    EXPECT_EQ(loaded["done_reason"], "load");
    EXPECT_EQ(loaded["response"], "");
    EXPECT_TRUE(whole("POST", "/api/chat", {{"model", "none"}}, 404)["error"].is_string());
    EXPECT_TRUE(whole("POST", "/api/chat", {{"model", model}, {"options", {{"top_p", 7}}}}, 400)["error"].is_string());
}

}  // namespace
}  // namespace sluice::server
