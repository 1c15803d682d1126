// What bodies are read as, and how what is wrong with them is named.

#include <gtest/gtest.h>

#include "base/file.h"
#include "server/completion_fields.h"
#include "server/http_message.h"
#include "server/json.h"
#include "server/metrics.h"
#include "server/ollama_fields.h"
#include "server/openai_fields.h"
#include "tests/support/source_file.h"

namespace sluice::server {
namespace {

std::string param_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const ApiError& error) {
        EXPECT_EQ(error.status, 400);
        EXPECT_EQ(std::string(error.what()).find(error.param.value_or("")), 0u) << error.what();
        return error.param.value_or("no field");
    }
    return "no error";
}

int status_of(const std::string& body) {
    try {
        parse_body(body);
    } catch (const ApiError& error) {
        return error.status;
    }
    return 200;
}

TEST(Body, IsOneObjectWithinLimits) {
    EXPECT_EQ(status_of("{\"a\": 1}"), 200);
    for (const std::string bad :
         {"", "[1]", "\"x\"", "{} {}", "{\"a\":1,}", "{'a':1}", "{\"a\": NaN}", "{\"a\":\"\xff\"}"}) {
        EXPECT_EQ(status_of(bad), 400) << bad;
    }
    const auto nested = [](size_t depth) {
        return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}";
    };
    EXPECT_EQ(status_of(nested(511)), 200);
    EXPECT_EQ(status_of(nested(512)), 400);
}

TEST(Body, OfManyMembersTakesNoQuadraticTime) {
    std::string body = "{";
    for (int i = 0; i < 200'000; ++i) body += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":1";
    const Json value = parse_body(body + "}");
    EXPECT_EQ(value.size(), 200'000u);
    EXPECT_EQ(parse_body("{\"a\":1,\"b\":2,\"a\":3}"), Json::parse("{\"a\":3,\"b\":2}"));
}

TEST(Fields, NameWhatIsWrong) {
    const Json body = Json::parse(R"({"n": 1.5, "t": "hot", "s": 7, "none": null, "e": 1e3, "huge": 1e300})");
    const Fields fields(body, "options");
    EXPECT_EQ(param_of([&] { fields.integer("n", 0, 9); }), "options.n");
    EXPECT_EQ(param_of([&] { fields.number("t", 0, 2); }), "options.t");
    EXPECT_EQ(param_of([&] { fields.number("n", 0, 1); }), "options.n");
    EXPECT_EQ(param_of([&] { fields.text("s"); }), "options.s");
    EXPECT_EQ(param_of([&] { fields.needed_text("none"); }), "options.none");
    EXPECT_EQ(param_of([&] { fields.texts("s", 4); }), "options.s");
    EXPECT_EQ(fields.integer("none", 0, 9), std::nullopt);
    EXPECT_EQ(fields.integer("e", 0, 9999), 1000);
    EXPECT_EQ(param_of([&] { fields.integer("huge", 0, 9999); }), "options.huge");
}

TEST(Content, IsTextOrPartsOfText) {
    const Json parts = Json::parse(R"([{"type":"text","text":"Be "},{"type":"input_text","text":"kind."}])");
    EXPECT_EQ(content_text(&parts, "c"), "Be kind.");
    EXPECT_EQ(content_text(nullptr, "c"), "");
    const Json image = Json::parse(R"([{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}])");
    EXPECT_EQ(param_of([&] { content_text(&image, "messages.0.content"); }), "messages.0.content.0.type");
    const Json number = 7;
    EXPECT_EQ(param_of([&] { content_text(&number, "messages.0.content"); }), "messages.0.content");
}

TEST(Sampling, HasTheRangesOfTheOptions) {
    const RequestDefaults defaults{.sampling = {.temperature = 0.7, .top_k = 20}, .vocabulary = 100};
    const auto read = [&](const char* text) {
        const Json body = Json::parse(text);
        return read_sampling(Fields(body), defaults).sampling;
    };
    EXPECT_EQ(read("{}").temperature, 0.7);
    EXPECT_EQ(read(R"({"top_k":5,"top_p":0,"min_p":1,"frequency_penalty":-2})").top_k, 5);
    EXPECT_GT(read(R"({"top_p":0})").top_p, 0);  // as little as there is: the engine takes no 0
    EXPECT_LT(read(R"({"top_p":0})").top_p, 1e-300);
    EXPECT_EQ(read(R"({"seed":0,"logit_bias":{"99":-100}})").logit_bias.at(99), -100);
    for (const auto& [field, value] :
         std::vector<std::pair<std::string, std::string>>{{"temperature", "2.1"},
                                                          {"temperature", "-0.1"},
                                                          {"top_p", "1.1"},
                                                          {"top_k", "-1"},
                                                          {"top_k", "1.5"},
                                                          {"min_p", "\"1\""},
                                                          {"repetition_penalty", "0"},
                                                          {"repetition_penalty", "1000"},
                                                          {"presence_penalty", "2.5"},
                                                          {"seed", "0.5"},
                                                          {"logit_bias", R"({"100":1})"}}) {
        const std::string body = "{\"" + field + "\":" + value + "}";
        EXPECT_EQ(param_of([&] { read(body.c_str()); }), field) << value;
    }
}

TEST(CompletionRequest, TakesTextsAndIds) {
    const auto read = [](const char* text) {
        const Json body = Json::parse(text);
        return read_completion_request({.sampling = {}, .vocabulary = 100}, Fields(body));
    };
    EXPECT_EQ(read(R"({"prompt":"a"})").prompts.size(), 1u);
    EXPECT_EQ(std::get<std::vector<TokenId>>(read(R"({"prompt":[1,2,99]})").prompts[0]),
              (std::vector<TokenId>{1, 2, 99}));
    EXPECT_EQ(read(R"({"prompt":["a",[1],"b"]})").prompts.size(), 3u);
    EXPECT_EQ(read(R"({"prompt":"a","logprobs":2})").options.log_probabilities, 2u);
    for (const char* bad : {R"({})", R"({"prompt":[]})", R"({"prompt":[100]})", R"({"prompt":[-1]})",
                            R"({"prompt":[18446744073709551615]})", R"({"prompt":["a",1]})", R"({"prompt":[[]]})"}) {
        EXPECT_EQ(param_of([&] { read(bad); }), "prompt") << bad;
    }
}

TEST(OllamaRequest, IsTheSameConversation) {
    const auto read = [](const char* text) {
        const Json body = Json::parse(text);
        return read_ollama_chat({.sampling = {.temperature = 1}, .vocabulary = 100}, Fields(body));
    };
    const ChatRequest request = read(R"({"messages":[{"role":"user","content":"Go"},
        {"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},
        {"role":"tool","content":"7"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],
        "options":{"temperature":0,"num_predict":9,"repeat_penalty":1.5,"stop":["x"]},"format":"json","think":false})");
    EXPECT_EQ(request.conversation.messages[1]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
    EXPECT_EQ(request.conversation.messages[2]["tool_call_id"], "call_0");
    EXPECT_EQ(request.conversation.template_variables["enable_thinking"], false);
    EXPECT_EQ(request.options.sampling.temperature, 0);
    EXPECT_EQ(request.options.sampling.repetition_penalty, 1.5);
    EXPECT_EQ(request.max_tokens, 9);
    EXPECT_EQ(request.stop, std::vector<std::string>{"x"});
    EXPECT_EQ(request.rule.kind, RuleKind::kJsonObject);
    EXPECT_TRUE(read(R"({"messages":[]})").conversation.messages.empty());
    EXPECT_EQ(read(R"({"format":""})").rule.kind, RuleKind::kFree);
    EXPECT_EQ(param_of([&] { read(R"({"format":"xml"})"); }), "format");
    EXPECT_EQ(param_of([&] { read(R"({"options":{"top_p":2}})"); }), "options.top_p");
    EXPECT_EQ(param_of([&] { read(R"({"messages":[{"role":"user","images":["x"]}]})"); }), "messages.0.images");
    EXPECT_EQ(param_of([&] { read(R"({"messages":[{"role":"judge"}]})"); }), "messages.0.role");
}

TEST(ToolChoice, NamesAToolThatThereIs) {
    const Json tools = Json::array({function_tool(Json::parse(R"({"name":"f"})"), "tools.0")});
    const auto read = [&](const char* text) {
        const Json body = Json::parse(text);
        return read_tool_choice(Fields(body), tools);
    };
    EXPECT_EQ(read("{}").use, ToolUse::kAuto);
    EXPECT_EQ(read(R"({"tool_choice":"none"})").use, ToolUse::kNone);
    EXPECT_EQ(read(R"({"tool_choice":{"type":"function","function":{"name":"f"}}})").name, "f");
    EXPECT_EQ(read(R"({"tool_choice":{"type":"function","name":"f"}})").name, "f");
    for (const char* bad : {R"({"tool_choice":"maybe"})", R"({"tool_choice":{"type":"function","name":"g"}})"}) {
        EXPECT_EQ(param_of([&] { read(bad); }), "tool_choice") << bad;
    }
    EXPECT_EQ(param_of([] { function_tool(Json::object(), "tools.0"); }), "tools.0.name");
}

TEST(Target, IsAPathWithoutQuery) {
    EXPECT_EQ(path_of_target("/v1/messages?beta=true"), "/v1/messages");
    EXPECT_EQ(path_of_target("/v1/models/a%2Fb"), "/v1/models/a/b");
    EXPECT_EQ(path_of_target("http://localhost:80/health"), "/health");
    EXPECT_EQ(path_of_target("http://localhost"), "/");
    EXPECT_EQ(path_of_target("/%zz%4"), "/%zz%4");
}

TEST(Head, NoValueEndsALine) {
    const uint64_t length = 3;
    Response response{.headers = {{"x-a", "b\r\nx-evil: yes"}}};
    const std::string head = response_head(response, {.length = &length});
    EXPECT_EQ(head.find("\r\nx-evil"), std::string::npos);
    EXPECT_NE(head.find("content-length: 3\r\n"), std::string::npos);
}

TEST(Histogram, BucketsAreCumulative) {
    Histogram histogram({1, 2});
    for (const double value : {0.5, 1.0, 1.5, 9.0}) histogram.add(value);
    EXPECT_EQ(histogram.prometheus("h"),
              "h_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 12\nh_count 4\n");
}

TEST(Dashboard, AsksForMetricsThatThereAre) {
    const std::string dashboard = read_text_file(sluice::testing::source_file("/packaging/grafana.json"));
    const std::string metrics = Metrics().prometheus(nullptr, {});
    size_t count = 0;
    for (size_t at = dashboard.find("sluice_"); at != std::string::npos; at = dashboard.find("sluice_", at + 1)) {
        const size_t end = dashboard.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at);
        std::string name = dashboard.substr(at, end - at);
        if (name.ends_with("_bucket")) name.resize(name.size() - 7);
        EXPECT_NE(metrics.find("# TYPE " + name + " "), std::string::npos) << name;
        ++count;
    }
    EXPECT_GT(count, 10u);
}

TEST(Errors, HaveTheFormOfTheirApi) {
    const ApiError error = bad_field("messages.0.role", "is missing");
    const auto body = [&](const char* path) { return Json::parse(error_form(path).body(error, "req_1")); };
    EXPECT_EQ(body("/v1/chat/completions")["error"],
              Json::parse(R"({"message":"messages.0.role: is missing","type":"invalid_request_error",)"
                          R"("param":"messages.0.role","code":null})"));
    const Json anthropic = body("/v1/messages/count_tokens");
    EXPECT_EQ(anthropic["error"]["type"], "invalid_request_error");
    EXPECT_EQ(anthropic["request_id"], "req_1");
    EXPECT_TRUE(body("/api/chat")["error"].is_string());
    EXPECT_STREQ(bad_field("role", "'a\nb' is none").what(), "role: 'a b' is none");
}

}  // namespace
}  // namespace sluice::server
