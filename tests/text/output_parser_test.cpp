#include "sluice/output_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "sluice/chat_template.h"
#include "tests/support/source_file.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kTools = R"([
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}}}}},
    {"type": "function", "function": {"name": "write_file", "parameters": {"type": "object", "properties": {
        "path": {"type": "string"}, "content": {"type": "string"}, "mode": {"type": "integer"},
        "tags": {"type": "array"}, "force": {"type": "boolean"}, "ratio": {"type": "number"},
        "extra": {"type": ["object", "null"]}, "note": {"type": ["string", "null"]},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "later": {"$ref": "#/$defs/when"}},
        "$defs": {"when": {"type": "object"}}}}},
    {"type": "function", "function": {"name": "now"}}])";

// What the deltas of an answer add up to.
struct Answer {
    std::string content, reasoning;
    std::vector<std::pair<std::string, std::string>> calls;
    bool operator==(const Answer&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
    out << "content '" << answer.content << "', reasoning '" << answer.reasoning << "'";
    for (const auto& [name, arguments] : answer.calls) out << ", call " << name << ' ' << arguments;
    return out;
}

void add(Answer& answer, const std::vector<OutputDelta>& deltas) {
    for (const OutputDelta& delta : deltas) {
        if (delta.part == OutputPart::kContent) answer.content += delta.text;
        if (delta.part == OutputPart::kReasoning) answer.reasoning += delta.text;
        if (delta.part != OutputPart::kToolCall) continue;
        if (!delta.name.empty()) {
            EXPECT_EQ(delta.call, answer.calls.size());
            EXPECT_EQ(delta.text, "");
            answer.calls.emplace_back(delta.name, "");
        }
        ASSERT_EQ(delta.call + 1, answer.calls.size());
        answer.calls.back().second += delta.text;
    }
}

OutputParser parser_of(const std::string& format, bool open = false, bool calls = true) {
    return {*find_output_format(format), {.tools = kTools, .reasoning_open = open, .calls = calls}};
}

Answer parse_pieces(OutputParser parser, const std::vector<std::string>& pieces) {
    Answer answer;
    for (const std::string& piece : pieces) add(answer, parser.push(piece));
    add(answer, parser.finish());
    EXPECT_EQ(parser.calls(), answer.calls.size());
    return answer;
}

std::vector<std::string> characters(const std::string& text) {
    std::vector<std::string> all;
    for (const char byte : text) {
        if ((static_cast<unsigned char>(byte) & 0xC0) != 0x80) all.emplace_back();
        all.back() += byte;
    }
    return all;
}

// The answer, which is the same however the text is cut.
Answer parse(const std::string& format, const std::string& text, bool open = false) {
    Answer whole = parse_pieces(parser_of(format, open), {text});
    const std::vector<std::string> letters = characters(text);
    EXPECT_EQ(parse_pieces(parser_of(format, open), letters), whole) << "letter by letter";
    for (size_t at = 0, begin = 0; at + 1 < letters.size(); ++at) {
        begin += letters[at].size();
        EXPECT_EQ(parse_pieces(parser_of(format, open), {text.substr(0, begin), text.substr(begin)}), whole)
            << "cut at byte " << begin;
    }
    for (const auto& [name, arguments] : whole.calls) {
        EXPECT_TRUE(Json::parse(arguments, nullptr, false).is_object()) << name << ": " << arguments;
    }
    return whole;
}

// One call's arguments, compact.
std::string arguments_of(const std::string& format, const std::string& text) {
    const Answer answer = parse(format, text);
    if (answer.calls.size() != 1) return std::to_string(answer.calls.size()) + " calls";
    return Json::parse(answer.calls[0].second, nullptr, false).dump();
}

std::string coder(const std::string& name, const std::vector<std::pair<std::string, std::string>>& parameters) {
    std::string text = "<tool_call>\n<function=" + name + ">\n";
    for (const auto& [key, value] : parameters) text += "<parameter=" + key + ">\n" + value + "\n</parameter>\n";
    return text + "</function>\n</tool_call>";
}

std::string coder_value(const std::string& key, const std::string& value) {
    return Json::parse(arguments_of("qwen-coder", coder("write_file", {{key, value}})))[key].dump();
}

TEST(OutputParser, TextStaysToTheByte) {
    for (const std::string_view format : output_format_names()) {
        SCOPED_TRACE(format);
        for (const std::string text :
             {" \n Hello, <b>wörld</b> a < b && [x] {\"y\": 1}. \n\n", "<", "\n\n", "x <|", "[", "a\n\n\nb"}) {
            EXPECT_EQ(parse(std::string(format), text).content, text);
        }
    }
}

TEST(OutputParser, ReasoningIsSplitOff) {
    const Answer expected{.content = "Yes. <think> is a tag.", .reasoning = "It is\n easy.", .calls = {}};
    for (const char* format : {"qwen", "qwen-coder", "glm", "deepseek", "deepseek-dsml", "kimi", "minimax", "llama"}) {
        EXPECT_EQ(parse(format, "\n<think>\nIt is\n easy.\n</think>\n\nYes. <think> is a tag."), expected) << format;
        EXPECT_EQ(parse(format, "It is\n easy.\n</think>\n\nYes. <think> is a tag.", true), expected) << format;
    }
    EXPECT_EQ(parse("mistral", "[THINK]It is\n easy.[/THINK]Yes. <think> is a tag."), expected);
    EXPECT_EQ(parse("gemma", "<|channel>thought\nIt is\n easy.\n<channel|>Yes. <think> is a tag."), expected);
    EXPECT_EQ(parse("qwen", "<think>\n\n</think>\n\nYes.").content, "Yes.");
    EXPECT_EQ(parse("qwen", "Never closed", true).reasoning, "Never closed");
}

TEST(OutputParser, CallsOfEveryFormat) {
    const std::string arguments = R"({"city":"Oslo","days":2})";
    const std::pair<std::string, std::string> cases[] = {
        {"qwen",
         "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}}\n</tool_call>"},
        {"qwen-coder", coder("get_weather", {{"city", "Oslo"}, {"days", "2"}})},
        {"glm",
         "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n"
         "<arg_value>2</arg_value>\n</tool_call>"},
        {"deepseek",
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Oslo\", \"days\": 2}"
         "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
        {"deepseek",
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
         "{\"city\": \"Oslo\", \"days\": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
        {"deepseek-dsml",
         "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter name=\"city\" "
         "string=\"true\">Oslo</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">2"
         "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"},
        {"kimi",
         "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
         "{\"city\": \"Oslo\", \"days\": 2}<|tool_call_end|><|tool_calls_section_end|>"},
        {"minimax",
         "<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Oslo</parameter>\n"
         "<parameter name=\"days\">2</parameter>\n</invoke>\n</minimax:tool_call>"},
        {"gpt-oss",
         "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Oslo\", "
         "\"days\": 2}<|call|>"},
        {"gpt-oss", " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\": \"Oslo\", \"days\": 2}"},
        {"gemma", "<|tool_call>call:get_weather{city:<|\"|>Oslo<|\"|>,days:2}<tool_call|>"},
        {"gemma", "<start_function_call>call:get_weather{city:<escape>Oslo<escape>,days:2}<end_function_call>"},
        {"llama", "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\", \"days\": 2}}"},
        {"llama",
         "<|python_tag|>{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\", "
         "\"days\": 2}}"},
        {"llama", "[get_weather(city=\"Oslo\", days=2)]"},
        {"llama", "<|python_start|>[get_weather(city='Oslo', days = 2)]<|python_end|>"},
        {"llama", "[get_weather(city=\"Oslo\", days=2,)"},
        {"mistral",
         "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\", \"days\": 2}, \"id\": "
         "\"abcdefghi\"}]"},
        {"mistral", "[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{\"city\": \"Oslo\", \"days\": 2}"},
        {"mistral", "[TOOL_CALLS]get_weather{\"city\": \"Oslo\", \"days\": 2}"},
    };
    for (const auto& [format, text] : cases) {
        SCOPED_TRACE(text);
        const Answer answer = parse(format, text);
        ASSERT_EQ(answer.calls.size(), 1u);
        EXPECT_EQ(answer.calls[0].first, "get_weather");
        EXPECT_EQ(Json::parse(answer.calls[0].second, nullptr, false).dump(), arguments);
        EXPECT_EQ(answer.content + answer.reasoning, "");
    }
}

TEST(OutputParser, PythonsLiteralsBecomeJson) {
    const auto calls = [](const std::string& text) { return parse("llama", text).calls; };
    using Calls = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(calls("[now(), write_file(path='a \"b\".txt', mode=-1, force=True, extra=None)]"),
              (Calls{{"now", "{}"}, {"write_file", R"({"path":"a \"b\".txt","mode":-1,"force":true,"extra":null})"}}));
    EXPECT_EQ(
        calls(R"([write_file(content="it's\n\t\x41\'\d \u00e9", tags=["a", 'b'], extra={'k': (1, 2.5)})])"),
        (Calls{{"write_file", R"({"content":"it's\n\t\u0041'\\d \u00e9","tags":["a","b"],"extra":{"k":[1,2.5]}})"}}));
    // Cut short, and an argument without a name.
    EXPECT_EQ(calls("[write_file(path=\"a.t"), (Calls{{"write_file", R"({"path":"a.t"})"}}));
    EXPECT_EQ(calls("[write_file(path=\"a\", 7), now()]"), (Calls{{"write_file", R"({"path":"a"})"}, {"now", "{}"}}));
    for (const char* text :
         {"[1, 2, 3]", "[see](http://a.b/)", "[sic] he said", "[f(x)]", "Use [now()] for that.", "["}) {
        EXPECT_EQ(parse("llama", text).content, text);
    }
}

TEST(OutputParser, FramesAreReadByTheirOwnFormat) {
    for (const std::string_view name : output_format_names()) {
        SCOPED_TRACE(name);
        const OutputFormat& format = *find_output_format(name);
        const CallFrame first = call_frame(format, "get_weather", 0);
        const CallFrame second = call_frame(format, "now", 1);
        const Answer answer = parse(std::string(name), first.before + "{\"city\": \"Oslo\"}" + first.after +
                                                           second.before + "{}" + second.after);
        ASSERT_EQ(answer.calls.size(), 2u);
        EXPECT_EQ(answer.calls[0], (std::pair<std::string, std::string>("get_weather", "{\"city\": \"Oslo\"}")));
        EXPECT_EQ(answer.calls[1], (std::pair<std::string, std::string>("now", "{}")));
        EXPECT_EQ(answer.content, "");
    }
}

TEST(OutputParser, TextAroundAndBetweenCalls) {
    const std::string call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
    EXPECT_EQ(parse("qwen", "Let me look.\n" + call + "\n" + call + "\nDone. \n"),
              (Answer{.content = "Let me look.Done. \n", .reasoning = "", .calls = {{"now", "{}"}, {"now", "{}"}}}));
    // Two in one block; a bracket too many; reasoning that goes on behind a call.
    EXPECT_EQ(parse("qwen", "<tool_call>{\"name\": \"now\"}\n{\"name\": \"now\"}</tool_call>").calls.size(), 2u);
    EXPECT_EQ(parse("qwen", "<tool_call>{\"name\": \"now\", \"arguments\": {}}}\n</tool_call>!").content, "!");
    EXPECT_EQ(parse("qwen", "One " + call + " two</think>Three", true),
              (Answer{.content = "Three", .reasoning = "Onetwo", .calls = {{"now", "{}"}}}));
    EXPECT_EQ(parse("qwen", "Write <tool_call> and </think> end.").content, "Write <tool_call> and </think> end.");
}

TEST(OutputParser, ArgumentsInWhateverOrderAndForm) {
    const auto of = [](const std::string& inside) {
        return arguments_of("qwen", "<tool_call>\n" + inside + "\n</tool_call>");
    };
    EXPECT_EQ(of(R"({"arguments": {"a": [1, {"b": "</tool_call>"}]}, "name": "now"})"),
              R"({"a":[1,{"b":"</tool_call>"}]})");
    EXPECT_EQ(of(R"({"id": {"x": [1]}, "name": "now", "parameters": {"a": 1.5e3}})"), R"({"a":1500.0})");
    EXPECT_EQ(of(R"({"name": "now", "arguments": "{\"a\": \"\\\"q\\\" \\u00e9\", \"b\": 1}"})"),
              R"({"a":"\"q\" é","b":1})");
    EXPECT_EQ(of(R"({"name": "now", "arguments": null})"), "{}");
    EXPECT_EQ(of(R"({"name": "now", "arguments": "Oslo"})"), "{}");
    // What models get wrong.
    EXPECT_EQ(of("{\"name\": \"now\", \"arguments\": {\"a\": \"two\nlines\",}}"), R"({"a":"two\nlines"})");
    EXPECT_EQ(of(R"({"name": "now", "arguments": {"a": "\d+", "b": True, "c": None}})"),
              R"({"a":"\\d+","b":true,"c":null})");
    EXPECT_EQ(of(R"({"name": "now", "arguments": {"a": "he said "hi" there", "b": 1}})"),
              R"({"a":"he said \"hi\" there","b":1})");
    EXPECT_EQ(of(R"({"name": "now", "arguments": {"a": 1 2 3}})"), R"({"a":1})");
}

TEST(OutputParser, AnAnswerCutShortLeavesValidArguments) {
    const std::string text = R"(<tool_call>
{"name": "now", "arguments": {"a": "x\u00e9 \"y\"", "b": [1, -2.5, true, {"c": null}]}}
</tool_call>)";
    for (size_t end = text.find("now") + 4; end < text.size(); ++end) {
        const Answer answer = parse_pieces(parser_of("qwen"), {text.substr(0, end)});
        ASSERT_EQ(answer.calls.size(), 1u) << end;
        EXPECT_TRUE(Json::parse(answer.calls[0].second, nullptr, false).is_object()) << answer.calls[0].second;
        EXPECT_EQ(answer.content, "");
    }
    const std::string tagged = coder("write_file", {{"mode", "42"}, {"content", "a\nb"}});
    for (size_t end = tagged.find("file>") + 5; end < tagged.size(); ++end) {
        const Answer answer = parse_pieces(parser_of("qwen-coder"), {tagged.substr(0, end)});
        ASSERT_EQ(answer.calls.size(), 1u) << end;
        const Json arguments = Json::parse(answer.calls[0].second, nullptr, false);
        ASSERT_TRUE(arguments.is_object()) << answer.calls[0].second;
        if (arguments.contains("content")) {
            EXPECT_TRUE(std::string("a\nb").starts_with(arguments["content"].get<std::string>().substr(0, 3))) << end;
        }
    }
    // Before a call's name is there, nothing of it is.
    for (const char* cut : {"Hi <tool_c", "Hi <tool_call>", "Hi <tool_call>\n{\"na", "Hi\n<tool_call>\n<func"}) {
        EXPECT_EQ(parse("qwen", cut), (Answer{.content = "Hi", .reasoning = "", .calls = {}})) << cut;
    }
}

TEST(OutputParser, ParametersTakeTheirTypeFromTheSchema) {
    EXPECT_EQ(coder_value("path", "007"), "\"007\"");
    EXPECT_EQ(coder_value("path", "{\"a\": 1}"), R"("{\"a\": 1}")");
    EXPECT_EQ(coder_value("mode", "420"), "420");
    EXPECT_EQ(coder_value("mode", "rw"), "\"rw\"");
    EXPECT_EQ(coder_value("force", "true"), "true");
    EXPECT_EQ(coder_value("force", "False"), "false");
    EXPECT_EQ(coder_value("force", "maybe"), "\"maybe\"");
    EXPECT_EQ(coder_value("ratio", "2.5"), "2.5");
    EXPECT_EQ(coder_value("tags", "[\"a\", 1]"), "[\"a\",1]");
    EXPECT_EQ(coder_value("tags", "[\"a\", "), "\"[\\\"a\\\", \"");
    EXPECT_EQ(coder_value("extra", "null"), "null");
    EXPECT_EQ(coder_value("extra", "{\"b\": {}}"), "{\"b\":{}}");
    EXPECT_EQ(coder_value("note", "null"), "null");
    EXPECT_EQ(coder_value("note", "12"), "\"12\"");
    EXPECT_EQ(coder_value("either", "12"), "12");
    EXPECT_EQ(coder_value("either", "[12]"), "\"[12]\"");
    EXPECT_EQ(coder_value("later", "{\"at\": 1}"), "{\"at\":1}");
    EXPECT_EQ(coder_value("unknown", "7"), "7");
    EXPECT_EQ(coder_value("unknown", "seven"), "\"seven\"");
    EXPECT_EQ(coder_value("content", ""), "\"\"");
    EXPECT_EQ(coder_value("content", "\n indented\n\n"), "\"\\n indented\\n\\n\"");
    EXPECT_EQ(coder_value("content", "say </parameter> and </function> here"),
              "\"say </parameter> and </function> here\"");
}

TEST(OutputParser, TagsThatModelsForget) {
    EXPECT_EQ(arguments_of("qwen-coder", "<function=get_weather>\n<parameter=city>Oslo</parameter>\n</function>"),
              R"({"city":"Oslo"})");
    EXPECT_EQ(arguments_of("qwen-coder",
                           "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</function>\n</tool_call>"),
              R"({"city":"Oslo"})");
    EXPECT_EQ(arguments_of("qwen-coder", "<tool_call>\n<function=now>\n</tool_call>"), "{}");
    EXPECT_EQ(arguments_of("glm", "<tool_call>now</tool_call>"), "{}");
    for (const char* id : {"functions.get_weather:0", "functions_get_weather_12", "functionsget_weather5",
                           "get_weather:3", "get_weather"}) {
        const Answer answer = parse(
            "kimi", std::string("<|tool_call_begin|>") + id + " <|tool_call_argument_begin|> {} <|tool_call_end|>");
        ASSERT_EQ(answer.calls.size(), 1u) << id;
        EXPECT_EQ(answer.calls[0].first, "get_weather") << id;
    }
}

TEST(OutputParser, HarmonyChannels) {
    EXPECT_EQ(parse("gpt-oss",
                    "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>commentary<|message|>I "
                    "look.<|end|><|start|>assistant<|channel|>commentary to=functions.now "
                    "<|constrain|>json<|message|>{}<|call|>"),
              (Answer{.content = "I look.", .reasoning = "Think.", .calls = {{"now", "{}"}}}));
    EXPECT_EQ(parse("gpt-oss", "We.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>", true),
              (Answer{.content = "Yes.", .reasoning = "We.", .calls = {}}));
    EXPECT_EQ(
        parse("gpt-oss", "<|channel|>analysis<|message|>A<|end|><|channel|>analysis<|message|>B<|end|>").reasoning,
        "A\n\nB");
}

TEST(OutputParser, LongStringsStream) {
    OutputParser parser = parser_of("qwen-coder");
    Answer answer;
    add(answer, parser.push("<tool_call>\n<function=write_file>\n<parameter=content>\n"));
    for (int i = 0; i < 100; ++i) {
        const size_t before = answer.calls[0].second.size();
        add(answer, parser.push("0123456789 \"quoted\"\n"));
        EXPECT_GE(answer.calls[0].second.size(), before + 15) << i;
    }
    OutputParser json = parser_of("qwen");
    std::vector<OutputDelta> deltas = json.push("<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": \"begin");
    ASSERT_EQ(deltas.size(), 2u);
    EXPECT_EQ(deltas[0], (OutputDelta{.part = OutputPart::kToolCall, .text = "", .call = 0, .name = "now"}));
    EXPECT_EQ(deltas[1].text, "{\"a\": \"begin");
}

TEST(OutputParser, SpecialTokensAreMarkupOrNothing) {
    OutputParser kimi = parser_of("kimi");
    Answer answer;
    add(answer, kimi.push("Hi"));
    add(answer, kimi.push_special("<|im_end|>"));
    add(answer, kimi.push_special("<|tool_call_begin|>"));
    add(answer, kimi.push("functions.now:0"));
    add(answer, kimi.push_special("<|tool_call_argument_begin|>"));
    add(answer, kimi.push("{}"));
    add(answer, kimi.push_special("<|tool_call_end|>"));
    add(answer, kimi.finish());
    EXPECT_EQ(answer, (Answer{.content = "Hi", .reasoning = "", .calls = {{"now", "{}"}}}));
    // No tools were offered: a call is text, and its tokens are nothing.
    Answer plain = parse_pieces(parser_of("qwen", false, false), {"<tool_call>{\"name\": \"now\"}</tool_call>"});
    EXPECT_EQ(plain, (Answer{.content = "<tool_call>{\"name\": \"now\"}</tool_call>", .reasoning = "", .calls = {}}));
    OutputParser without = parser_of("kimi", false, false);
    EXPECT_TRUE(without.push_special("<|tool_call_begin|>").empty());
}

TEST(OutputParser, FormatsByTemplate) {
    const fs::path folder = sluice::testing::source_file("/../shared/text/templates");
    if (!fs::exists(folder)) GTEST_SKIP() << "no published templates beside the tree";
    const std::pair<const char*, const char*> expected[] = {{"GLM-4.6.jinja", "glm"},
                                                            {"Kimi-K2-Instruct.jinja", "kimi"},
                                                            {"Qwen-Qwen3-0.6B.jinja", "qwen"},
                                                            {"Qwen3-Coder.jinja", "qwen-coder"},
                                                            {"Qwen3.5-4B.jinja", "qwen-coder"},
                                                            {"deepseek-ai-DeepSeek-V3.1.jinja", "deepseek"},
                                                            {"openai-gpt-oss-120b.jinja", "gpt-oss"}};
    for (const auto& [file, format] : expected) {
        EXPECT_EQ(name_of(output_format_of(read_text_file(folder / file))), format) << file;
    }
    EXPECT_EQ(name_of(output_format_of("{{ messages }}")), "qwen");
    const OutputFormat& qwen = *find_output_format("qwen");
    EXPECT_TRUE(ends_in_reasoning(qwen, "<|im_start|>assistant\n<think>\n"));
    EXPECT_FALSE(ends_in_reasoning(qwen, "<|im_start|>assistant\n<think>\n\n</think>\n\n"));
}

// Markup in every order and at every state, cut at random: the same sum, and arguments that are JSON.
TEST(OutputParser, AnyMixtureOfMarkupAddsUpTheSame) {
    const std::string pieces[] = {"<think>",
                                  "</think>",
                                  "<tool_call>",
                                  "</tool_call>",
                                  "<function=",
                                  "<function=now>",
                                  "</function>",
                                  "<parameter=path>",
                                  "</parameter>",
                                  "\n",
                                  " ",
                                  "\n\n",
                                  "{\"name\": \"now\", \"arguments\": {",
                                  "{\"name\": \"now\"",
                                  "\"arguments\":",
                                  "\"a\": ",
                                  "}",
                                  "{",
                                  "[",
                                  "]",
                                  ",",
                                  ":",
                                  "\"",
                                  "\\",
                                  "\\u00e9",
                                  "1",
                                  "-2.5",
                                  "true",
                                  "None",
                                  "text",
                                  "é",
                                  "<",
                                  "<arg_key>",
                                  "</arg_key>",
                                  "<arg_value>",
                                  "</arg_value>",
                                  "<｜tool▁calls▁begin｜>",
                                  "<｜tool▁call▁begin｜>",
                                  "function",
                                  "<｜tool▁sep｜>",
                                  "```json\n",
                                  "<｜tool▁call▁end｜>",
                                  "<｜tool▁calls▁end｜>",
                                  "<|tool_calls_section_begin|>",
                                  "<|tool_call_begin|>",
                                  "functions.now:0",
                                  "<|tool_call_argument_begin|>",
                                  "<|tool_call_end|>",
                                  "<minimax:tool_call>",
                                  "</minimax:tool_call>",
                                  "<invoke name=\"now\">",
                                  "</invoke>",
                                  "<parameter name=\"path\">",
                                  "<｜DSML｜function_calls>",
                                  "<｜DSML｜invoke name=\"now\">",
                                  "<｜DSML｜parameter name=\"path\" string=\"false\">",
                                  "</｜DSML｜parameter>",
                                  "</｜DSML｜invoke>",
                                  "</｜DSML｜function_calls>",
                                  "[TOOL_CALLS]",
                                  "[ARGS]",
                                  "[CALL_ID]",
                                  "[THINK]",
                                  "[/THINK]",
                                  "<|python_tag|>",
                                  "<|channel|>",
                                  "analysis",
                                  "commentary to=functions.now",
                                  "final",
                                  "<|message|>",
                                  "<|end|>",
                                  "<|start|>",
                                  "<|call|>",
                                  "<|tool_call>",
                                  "call:now{",
                                  "<|\"|>",
                                  "path:",
                                  "<tool_call|>",
                                  "<|channel>thought",
                                  "<channel|>"};
    std::mt19937 random(7);
    const auto below = [&](size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random); };
    for (const std::string_view name : output_format_names()) {
        for (int round = 0; round < 1500; ++round) {
            std::vector<std::string> letters;
            std::string text;
            for (size_t i = 0, count = 1 + below(24); i < count; ++i) text += pieces[below(std::size(pieces))];
            letters = characters(text);
            const bool open = below(4) == 0;
            const Answer whole = parse_pieces(parser_of(std::string(name), open), {text});
            ASSERT_EQ(parse_pieces(parser_of(std::string(name), open), letters), whole) << name << ": " << text;
            std::vector<std::string> cut(1);
            for (const std::string& letter : letters) {
                if (below(5) == 0) cut.emplace_back();
                cut.back() += letter;
            }
            ASSERT_EQ(parse_pieces(parser_of(std::string(name), open), cut), whole) << name << ": " << text;
            for (const auto& [function, arguments] : whole.calls) {
                ASSERT_TRUE(Json::parse(arguments, nullptr, false).is_object())
                    << name << ": " << text << " -> " << arguments;
            }
        }
    }
}

TEST(OutputParser, RefusesToolsThatAreNone) {
    const OutputFormat& qwen = *find_output_format("qwen");
    EXPECT_THROW(OutputParser(qwen, {.tools = "{}"}), Error);
    EXPECT_THROW(OutputParser(qwen, {.tools = "[{\"function\": {}}]"}), Error);
    EXPECT_NO_THROW(OutputParser(qwen, {.tools = "null"}));
    EXPECT_EQ(find_output_format("nonsense"), nullptr);
}

}  // namespace
}  // namespace sluice
