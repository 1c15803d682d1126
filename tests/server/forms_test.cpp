// Streams as each API has them, from jobs whose tokens the test makes up.

#include <gtest/gtest.h>

#include "server/answer.h"
#include "server/openai_forms.h"
#include "sluice/tokenizer.h"
#include "tests/server/recorded_exchange.h"
#include "tests/support/source_file.h"

namespace sluice::server {
namespace {

const Tokenizer& tokenizer() {
    static const Tokenizer kTokenizer = Tokenizer::open(sluice::testing::source_file("/models/stories-hybrid"));
    return kTokenizer;
}

struct Driven {
    std::shared_ptr<RecordedExchange> exchange = std::make_shared<RecordedExchange>();
    std::shared_ptr<Job> job = std::make_shared<Job>();
    std::shared_ptr<AnswerDriver> driver;
    int cancelled = 0, gone = 0;

    ~Driven() { exchange->gone = nullptr; }  // as a closed connection does: it holds the driver, which holds it

    void drive(size_t choices, const OpenAiHead& head, const std::vector<std::string>& stop = {}) {
        job->prompts = {{1, 2, 3}};
        job->choices = choices;
        driver = std::make_shared<AnswerDriver>(exchange, stream_chat(exchange, head, tokenizer(), choices),
                                                tokenizer(), AnswerSetup{.reading = {.stop = stop}}, job);
        driver->begin([this] { ++cancelled; }, [this] { ++gone; });
    }
    void say(size_t sequence, const std::string& text) {
        driver->take({.sequence = sequence, .ids = tokenizer().encode(text)});
    }
    void finish(size_t sequence, FinishReason reason) {
        driver->take({.sequence = sequence, .finished = true, .finish = reason, .cached = 2});
    }
};

TEST(StreamedChat, HasRoleTextReasonUsageAndEnd) {
    Driven driven;
    driven.drive(1, {.id = "chatcmpl-1", .model = "m", .include_usage = true});
    // The first event is there before any token.
    ASSERT_EQ(driven.exchange->events().size(), 1u);
    EXPECT_EQ(driven.exchange->events()[0]["choices"][0]["delta"]["role"], "assistant");
    driven.say(0, "Once upon");
    driven.finish(0, FinishReason::kLength);
    const std::vector<Json> events = driven.exchange->events();
    const size_t n = events.size();
    std::string text;
    for (size_t i = 1; i < n - 3; ++i) {
        text += events[i]["choices"][0]["delta"]["content"].get<std::string>();
        EXPECT_EQ(events[i]["usage"], nullptr);
    }
    EXPECT_EQ(text, "Once upon");
    EXPECT_EQ(events[n - 3]["choices"][0]["finish_reason"], "length");
    EXPECT_EQ(events[n - 2]["choices"], Json::array());
    EXPECT_EQ(events[n - 2]["usage"]["prompt_tokens"], 3);
    EXPECT_EQ(events[n - 2]["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    EXPECT_EQ(events[n - 1], "[DONE]");
    EXPECT_TRUE(driven.exchange->ended);
}

TEST(StreamedChat, EndsOnceAllChoicesHave) {
    Driven driven;
    driven.drive(2, {.id = "c", .model = "m"});
    driven.finish(1, FinishReason::kStop);
    EXPECT_FALSE(driven.exchange->ended);
    driven.finish(0, FinishReason::kStop);
    EXPECT_TRUE(driven.exchange->ended);
    EXPECT_EQ(driven.exchange->events().back(), "[DONE]");
}

TEST(StreamedChat, HoldsStopStringsBack) {
    Driven driven;
    driven.drive(1, {.id = "c", .model = "m"}, {" upon a"});
    driven.say(0, "Once upon");
    EXPECT_EQ(driven.exchange->stream.find("upon"), std::string::npos);
    driven.say(0, " a time");
    driven.finish(0, FinishReason::kStop);
    EXPECT_EQ(driven.exchange->stream.find("upon"), std::string::npos);
    const std::vector<Json> events = driven.exchange->events();
    EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
}

TEST(StreamedChat, AnErrorIsTheLastEvent) {
    Driven driven;
    driven.drive(1, {.id = "c", .model = "m"});
    driven.driver->give_up(std::make_exception_ptr(not_ready(true)));
    EXPECT_EQ(driven.exchange->events().back()["error"]["code"], "shutting_down");
    EXPECT_TRUE(driven.exchange->ended);
    const std::string sent = driven.exchange->stream;
    driven.say(0, "too late");
    EXPECT_EQ(driven.exchange->stream, sent);
}

TEST(StreamedChat, AGoneClientCancelsItsJobOnce) {
    Driven driven;
    driven.drive(1, {.id = "c", .model = "m"});
    driven.exchange->gone();
    EXPECT_EQ(driven.cancelled, 1);
    EXPECT_EQ(driven.gone, 1);
    driven.finish(0, FinishReason::kCancelled);
    EXPECT_FALSE(driven.exchange->ended);
}

TEST(StreamedChat, SaysThatItLivesInCommentsAlone) {
    Driven driven;
    driven.drive(1, {.id = "c", .model = "m"});
    const size_t events = driven.exchange->events().size();
    driven.driver->tick(1000);
    EXPECT_EQ(driven.exchange->stream.find(": progress"), std::string::npos);
    driven.driver->tick(0);
    EXPECT_NE(driven.exchange->stream.find(": progress {\"state\":\"queued\",\"done\":0,\"total\":3}\n\n"),
              std::string::npos);
    EXPECT_EQ(driven.exchange->events().size(), events);
}

TEST(AnswerDriver, WaitsForClientsThatDoNotRead) {
    Driven driven;
    driven.drive(1, {.id = "c", .model = "m"});
    EXPECT_FALSE(driven.driver->behind());
    driven.exchange->unsent_bytes = 1 << 20;
    EXPECT_TRUE(driven.driver->behind());
}

}  // namespace
}  // namespace sluice::server
