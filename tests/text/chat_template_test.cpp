#include "sluice/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "tests/support/source_file.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;

const fs::path kOwn = sluice::testing::source_file("/tests/data/templates");
const fs::path kShared = sluice::testing::source_file("/../shared/text");

// `expected` is null where the template is to raise.
void expect_rendered(const ChatTemplate& chat_template, const Json& variables, const Json& expected) {
    if (expected.is_null()) {
        EXPECT_THROW(chat_template.render(variables.dump()), Error);
    } else {
        EXPECT_EQ(chat_template.render(variables.dump()), expected.get<std::string>());
    }
}

TEST(ChatTemplate, OwnTemplatesRenderAsInPython) {
    const Json expected = Json::parse(read_text_file(kOwn / "expected.json"))["conversations"];
    ASSERT_GT(expected.size(), 10u);
    for (const Json& conversation : expected) {
        const auto name = conversation["template"].get<std::string>();
        SCOPED_TRACE(name + ": " + conversation["case"].get<std::string>());
        expect_rendered(ChatTemplate::parse(read_text_file(kOwn / name), name), conversation["variables"],
                        conversation["expected"]);
    }
}

// The expected texts have the day they were made on.
std::string with_today(std::string text) {
    const std::string today = ChatTemplate::parse("{{ strftime_now('%Y-%m-%d') }}", "today").render("{}");
    const std::string recorded = "2026-11-22";
    if (const size_t at = text.find(recorded); at != std::string::npos) text.replace(at, recorded.size(), today);
    return text;
}

TEST(ChatTemplate, PublishedTemplatesRenderAsInPython) {
    if (!fs::exists(kShared / "template_cases.json")) GTEST_SKIP() << "no published templates beside the tree";
    for (const Json& conversation : Json::parse(read_text_file(kShared / "template_cases.json"))) {
        const auto name = conversation["template"].get<std::string>();
        SCOPED_TRACE(name + ": " + conversation["case"].get<std::string>());
        const std::string source = read_text_file(kShared / "templates" / name);
        Json variables = {{"messages", conversation["messages"]}, {"tools", conversation["tools"]}};
        variables.update(conversation["vars"]);
        Json expected = conversation["expected"];
        if (source.find("strftime_now") != std::string::npos && expected.is_string()) {
            expected = with_today(expected.get<std::string>());
        }
        expect_rendered(ChatTemplate::parse(source, name), variables, expected);
    }
}

// A checkpoint folder that is gone after the test.
class ChatTemplateFolder : public ::testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::path(::testing::TempDir()) /
                  ("chat_template_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    void write(const char* name, const std::string& text) { write_text_file(folder_ / name, text); }
    std::string render(const std::string& variables = "{}") { return ChatTemplate::open(folder_).render(variables); }
    std::string open_error(ErrorCode expected) {
        try {
            ChatTemplate::open(folder_);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), expected);
            return error.what();
        }
        return "";
    }

    fs::path folder_;
};

TEST_F(ChatTemplateFolder, TheTemplateFileComesFirst) {
    write("tokenizer_config.json", R"({"chat_template": "config", "bos_token": "<s>"})");
    EXPECT_EQ(render(), "config");
    write("chat_template.json", R"({"chat_template": "json {{ bos_token }}"})");
    EXPECT_EQ(render(), "json <s>");
    write("chat_template.jinja", "file {{ bos_token }}");
    EXPECT_EQ(render(), "file <s>");
}

TEST_F(ChatTemplateFolder, SpecialTokensAreVariables) {
    write("tokenizer_config.json", R"({
        "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "unk_token": null,
        "add_bos_token": true, "additional_special_tokens": ["<a>", {"content": "<b>"}],
        "extra_special_tokens": {"image_token": "<img>"}})");
    write("chat_template.jinja",
          "{{ bos_token }}{{ eos_token }}{{ unk_token is defined }}{{ add_bos_token is defined }}"
          "{{ additional_special_tokens|join }}{{ image_token }}");
    EXPECT_EQ(render(), "<s></s>FalseFalse<a><b><img>");
    EXPECT_EQ(render(R"({"bos_token": "other"})"), "other</s>FalseFalse<a><b><img>");
}

TEST_F(ChatTemplateFolder, ToolsChooseAmongNamedTemplates) {
    write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "plain"},
                                                         {"name": "tool_use", "template": "tools"}]})");
    EXPECT_EQ(render(), "plain");
    EXPECT_EQ(render(R"({"tools": null})"), "plain");
    EXPECT_EQ(render(R"({"tools": [{}]})"), "tools");
}

TEST_F(ChatTemplateFolder, AdditionalTemplatesAreNamedByTheirFiles) {
    fs::create_directories(folder_ / "additional_chat_templates");
    write("additional_chat_templates/tool_use.jinja", "tools");
    write("additional_chat_templates/rag.jinja", "rag");
    write("additional_chat_templates/notes.txt", "{{ broken");
    write("chat_template.jinja", "plain");
    EXPECT_EQ(render(), "plain");
    EXPECT_EQ(render(R"({"tools": [{}]})"), "tools");
    fs::remove(folder_ / "chat_template.jinja");
    write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "config"},
                                                         {"name": "tool_use", "template": "config tools"}]})");
    EXPECT_EQ(render(), "config");
    EXPECT_EQ(render(R"({"tools": [{}]})"), "tools");
}

TEST_F(ChatTemplateFolder, OlderCheckpointsHaveAMapOfSpecialTokens) {
    write("chat_template.jinja", "{{ bos_token }}|{{ eos_token }}");
    write("special_tokens_map.json", R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>"})");
    EXPECT_EQ(render(), "<s>|</s>");
    write("tokenizer_config.json", R"({"bos_token": "<b>", "added_tokens_decoder": {}})");
    EXPECT_EQ(render(), "<b>|");
}

TEST_F(ChatTemplateFolder, NamedTemplatesWithoutADefaultAreListed) {
    write("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": "r"},
                                                         {"name": "tool_use", "template": "t"}]})");
    const ChatTemplate chat_template = ChatTemplate::open(folder_);
    EXPECT_EQ(chat_template.render(R"({"tools": []})"), "t");
    try {
        chat_template.render("{}");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kNotFound);
        EXPECT_THAT(error.what(), HasSubstr("('rag', 'tool_use')"));
    }
}

TEST_F(ChatTemplateFolder, StandardVariablesHaveDefaults) {
    write("chat_template.jinja", "{{ add_generation_prompt }} {{ tools }} {{ documents }} {{ messages is defined }}");
    EXPECT_EQ(render(), "True None None False");
    EXPECT_EQ(render(R"({"add_generation_prompt": false, "tools": [1], "messages": []})"), "False [1] None True");
}

TEST_F(ChatTemplateFolder, WhatIsMissingOrMalformedIsNamed) {
    EXPECT_THAT(open_error(ErrorCode::kNotFound), HasSubstr("no chat template (looked for chat_template.jinja"));
    write("tokenizer_config.json", R"({"chat_template": null})");
    EXPECT_THAT(open_error(ErrorCode::kNotFound), HasSubstr("no chat template"));
    write("tokenizer_config.json", "{");
    EXPECT_THAT(open_error(ErrorCode::kInvalidFile), HasSubstr("tokenizer_config.json: not valid JSON"));
    write("tokenizer_config.json", R"({"chat_template": 5})");
    EXPECT_THAT(open_error(ErrorCode::kInvalidFile), HasSubstr("chat_template: must be a string or a list"));
    write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
    EXPECT_THAT(open_error(ErrorCode::kInvalidFile), HasSubstr("an entry lacks the string 'template'"));
    write("tokenizer_config.json", "[]");
    EXPECT_THAT(open_error(ErrorCode::kNotFound), HasSubstr("no chat template"));
    write("chat_template.jinja", "fine\n{{ broken");
    EXPECT_THAT(open_error(ErrorCode::kInvalidFile), HasSubstr("chat_template.jinja:2: "));
}

TEST(ChatTemplate, ErrorsWhileRenderingCarryTheLabelAndTheLine) {
    const ChatTemplate chat_template = ChatTemplate::parse("a\n{{ messages[0].role.x.y }}", "some.jinja");
    try {
        chat_template.render(R"({"messages": [{"role": "user"}]})");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUsage);
        EXPECT_STREQ(error.what(), "some.jinja:2: 'str object' has no attribute 'x'");
    }
    EXPECT_EQ(chat_template.render(R"({"messages": [{"role": {"x": {"y": 1}}}]})"), "a\n1");
}

TEST(ChatTemplate, AMovedTemplateStillRenders) {
    ChatTemplate first = ChatTemplate::parse("{{ x }}", "first");
    ChatTemplate second = ChatTemplate::parse("other", "second");
    second = std::move(first);
    EXPECT_EQ(second.render(R"({"x": "é"})"), "é");
}

}  // namespace
}  // namespace sluice
