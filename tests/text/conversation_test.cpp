// Conversations as clients send them, through every template at hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "sluice/chat_template.h"
#include "tests/support/source_file.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

// Takes contents that are texts, of user and assistant in turn, and nothing else.
constexpr const char* kStrict =
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + '</s>' }}{% endif %}"
    "{% endfor %}";
// Leaves out whom it does not know; a system message comes first or is an error; contents are joined with +.
constexpr const char* kForgetful =
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system must be first') }}{% endif %}{% if m.role in ['system', 'user', 'assistant'] %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";

std::map<std::string, std::string> templates() {
    std::map<std::string, std::string> all = {{"strict", kStrict}, {"forgetful", kForgetful}};
    const fs::path shared = sluice::testing::source_file("/../shared/text/templates");
    if (!fs::exists(shared)) return all;
    for (const fs::directory_entry& entry : fs::directory_iterator(shared)) {
        all[entry.path().filename().string()] = read_text_file(entry.path());
    }
    return all;
}

Json message(const std::string& role, const Json& content) {
    return {{"role", role}, {"content", content}};
}

Json parts(const std::string& text) {
    return Json::array({{{"type", "text"}, {"text", text}}});
}

Json tools() {
    return Json::parse(R"([{"type": "function", "function": {"name": "qfunction", "description": "D", "parameters":
        {"type": "object", "properties": {"qkey": {"type": "string"}}}}},
        {"type": "function", "function": {"name": "qbare"}}])");
}

Json turns(const Json& arguments, const Json& content, const Json& result) {
    Json assistant = message("assistant", content);
    assistant["tool_calls"] = Json::array(
        {{{"id", "call_abc"}, {"type", "function"}, {"function", {{"name", "qfunction"}, {"arguments", arguments}}}}});
    Json answer = message("tool", result);
    answer["tool_call_id"] = "call_abc";
    return Json::array({message("user", "quser"), assistant, answer});
}

struct Case {
    const char* name;
    Json variables;
    std::vector<std::string> words;  // that the prompt must have, in this order
};

std::vector<Case> cases() {
    const auto of = [](const Json& messages) { return Json{{"messages", messages}}; };
    const auto with_tools = [](const Json& messages) { return Json{{"messages", messages}, {"tools", tools()}}; };
    const Json user = message("user", "quser");
    Json reasoned = message("assistant", "qanswer");
    reasoned["reasoning_content"] = "qthought";
    return {
        {"plain", of(Json::array({user})), {"quser"}},
        {"null", of(Json::array({user, message("assistant", nullptr), message("user", "qmore")})), {"quser", "qmore"}},
        {"parts",
         of(Json::array({message("system", parts("qsystem")), message("user", parts("quser"))})),
         {"qsystem", "quser"}},
        {"systems",
         of(Json::array({message("system", "qone"), message("system", "qtwo"), user})),
         {"qone", "qtwo", "quser"}},
        {"late system",
         of(Json::array({user, message("assistant", "qa"), message("system", "qlate"), message("user", "qu")})),
         {"quser", "qa", "qlate", "qu"}},
        {"system last", of(Json::array({user, message("system", "qlate")})), {"quser", "qlate"}},
        {"system alone", of(Json::array({message("system", "qsystem")})), {"qsystem"}},
        {"developer", of(Json::array({message("developer", "qdeveloper"), user})), {"qdeveloper", "quser"}},
        {"assistant first", of(Json::array({message("assistant", "qa"), user})), {"qa", "quser"}},
        {"assistants",
         of(Json::array({user, message("assistant", "qa"), message("assistant", "qb"), message("user", "qu")})),
         {"quser", "qa", "qb", "qu"}},
        {"users", of(Json::array({user, message("user", "qu")})), {"quser", "qu"}},
        {"nothing", of(Json::array()), {}},
        {"reasoning", of(Json::array({user, reasoned, message("user", "qu")})), {"quser", "qanswer", "qu"}},
        {"tools", with_tools(Json::array({user})), {"qfunction", "qbare"}},
        {"tools and system", with_tools(Json::array({message("system", "qsystem"), user})), {"qsystem"}},
        {"argument text",
         with_tools(turns("{\"qkey\": \"qvalue\"}", nullptr, "qresult")),
         {"quser", "qfunction", "qvalue", "qresult"}},
        {"argument object",
         with_tools(turns({{"qkey", "qvalue"}}, "", parts("qresult"))),
         {"quser", "qfunction", "qvalue", "qresult"}},
        {"calls without tools",
         of(turns("{\"qkey\":\"qvalue\"}", "qsaid", "qresult")),
         {"quser", "qfunction", "qvalue", "qresult"}},
        {"no arguments", with_tools(turns("", nullptr, nullptr)), {"quser", "qfunction"}},
        {"broken arguments", with_tools(turns("{\"qkey\": ", nullptr, "qresult")), {"quser", "qfunction", "qresult"}},
        {"a result of no call", of(Json::array({user, message("tool", "qresult")})), {"quser", "qresult"}},
        {"another role", of(Json::array({message("narrator", "qwords"), user})), {"qwords", "quser"}},
    };
}

TEST(Conversation, EveryTemplateServesEveryConversation) {
    for (const auto& [name, source] : templates()) {
        const ChatTemplate chat = ChatTemplate::parse(source, name);
        for (const Case& each : cases()) {
            SCOPED_TRACE(name + ": " + each.name);
            ChatPrompt prompt;
            ASSERT_NO_THROW(prompt = chat.render_conversation(each.variables.dump()));
            const std::string text = text_of(prompt.spans);
            size_t at = 0;
            for (const std::string& word : each.words) {
                at = text.find(word, at);
                ASSERT_NE(at, std::string::npos) << word << " is not in its place in\n" << text;
            }
            for (const PromptSpan& span : prompt.spans) {
                EXPECT_FALSE(span.text.empty());
                const bool ours = span.text.find("quser") != std::string::npos ||
                                  span.text.find("qresult") != std::string::npos ||
                                  span.text.find("qvalue") != std::string::npos;
                EXPECT_FALSE(span.trusted && ours) << span.text;
            }
        }
    }
}

TEST(Conversation, ArgumentsAreWrittenOnceAndAlike) {
    for (const auto& [name, source] : templates()) {
        SCOPED_TRACE(name);
        const ChatTemplate chat = ChatTemplate::parse(source, name);
        const auto rendered = [&](const Json& arguments) {
            return text_of(
                chat.render_conversation(Json{{"messages", turns(arguments, "", "r")}, {"tools", tools()}}.dump())
                    .spans);
        };
        const std::string text = rendered({{"qkey", "qvalue"}});
        EXPECT_EQ(rendered("{\"qkey\":\"qvalue\"}"), text);
        EXPECT_EQ(rendered("{ \"qkey\" : \"qvalue\" }"), text);
        EXPECT_THAT(text, Not(HasSubstr("\\\"qvalue")));
        EXPECT_THAT(text, Not(HasSubstr("'qvalue'")));
    }
}

// What a template takes as it is, it gets as it is.
TEST(Conversation, WhatRendersIsNotRewritten) {
    const fs::path shared = sluice::testing::source_file("/../shared/text");
    if (!fs::exists(shared)) GTEST_SKIP() << "no published templates beside the tree";
    size_t compared = 0;
    for (const Json& entry : Json::parse(read_text_file(shared / "template_cases.json"))) {
        const auto name = entry["template"].get<std::string>();
        Json variables = {{"messages", entry["messages"]}, {"tools", entry["tools"]}};
        variables.update(entry["vars"]);
        const ChatTemplate chat = ChatTemplate::parse(read_text_file(shared / "templates" / name), name);
        std::string direct;
        try {
            direct = chat.render(variables.dump());
        } catch (const Error&) {
            continue;
        }
        bool texts = entry["tools"].is_null();
        for (const Json& each : entry["messages"]) {
            texts = texts && each.contains("content") && each["content"].is_string() && !each.contains("tool_calls");
        }
        if (!texts) continue;
        SCOPED_TRACE(name + ": " + entry["case"].get<std::string>());
        EXPECT_EQ(text_of(chat.render_conversation(variables.dump()).spans), direct);
        ++compared;
    }
    EXPECT_GT(compared, 20u);
}

TEST(Conversation, RefusesWhatIsNone) {
    const ChatTemplate chat = ChatTemplate::parse(kForgetful, "test");
    const auto message_of = [&](const char* variables) -> std::string {
        try {
            chat.render_conversation(variables);
        } catch (const Error& error) {
            return error.what();
        }
        return "served";
    };
    EXPECT_THAT(message_of(R"({"messages": 1})"), HasSubstr("`messages`"));
    EXPECT_THAT(message_of(R"({"messages": [{"role": "user"}, {}]})"), HasSubstr("`messages.1`"));
    EXPECT_THAT(message_of(R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})"),
                HasSubstr("`messages.0.content.0`"));
    EXPECT_THAT(message_of(R"({"messages": [{"role": "user", "content": 5}]})"), HasSubstr("`messages.0.content`"));
    EXPECT_THAT(message_of(R"({"messages": [], "tools": 5})"), HasSubstr("`tools`"));
    EXPECT_THAT(message_of(R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]})"),
                HasSubstr("`messages.0.tool_calls.0`"));
}

TEST(Conversation, KnowsWhetherReasoningIsOpen) {
    const Json variables = {{"messages", Json::array({message("user", "x")})}};
    EXPECT_TRUE(ChatTemplate::parse(kForgetful, "test").render_conversation(variables.dump()).reasoning_open);
    EXPECT_FALSE(ChatTemplate::parse(kStrict, "test").render_conversation(variables.dump()).reasoning_open);
}

}  // namespace
}  // namespace sluice
