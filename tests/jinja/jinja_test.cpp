#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "jinja/template.h"
#include "tests/support/source_file.h"

namespace sluice::jinja {
namespace {

using Json = nlohmann::ordered_json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kData = sluice::testing::source_file("/tests/data/templates/");

std::string run(const std::string& source, const std::string& variables = "{}", const Limits& limits = {}) {
    return render(parse(source, "test"), {}, variables, limits).text();
}

// The message of the error that parsing or rendering ends in; empty where it does not.
std::string error_of(const std::string& source, const std::string& variables = "{}", const Limits& limits = {}) {
    try {
        run(source, variables, limits);
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

// expected.json holds what Python's jinja2 makes of each snippet; null where it raises.
TEST(Jinja, SnippetsRenderAsInPython) {
    const Json expected = Json::parse(read_text_file(kData + "expected.json"));
    Json variables = Json::parse(read_text_file(kData + "variables.json"));
    for (const char* name : {"tools", "documents"}) variables[name] = nullptr;
    variables["add_generation_prompt"] = true;
    const std::string text = variables.dump();
    ASSERT_GT(expected["snippets"].size(), 1000u);
    for (const Json& snippet : expected["snippets"]) {
        const auto source = snippet["template"].get<std::string>();
        SCOPED_TRACE(source);
        if (snippet["expected"].is_null()) {
            EXPECT_NE(error_of(source, text), "");
        } else {
            EXPECT_EQ(run(source, text), snippet["expected"].get<std::string>());
        }
    }
}

struct Mistake {
    const char* source;
    const char* message;
};

TEST(Jinja, ErrorsNameTheLineAndTheMistake) {
    const std::array mistakes = std::to_array<Mistake>({
        {"a\n{{ 1 +", "test:2: unexpected end of template"},
        {"{{ 1 }", "test:1: unexpected '}'"},
        {"\n\n{% foo %}", "test:3: Encountered unknown tag 'foo'"},
        {"{% if x %}\n{% foo %}", "test:2: Encountered unknown tag 'foo'; looking for 'elif' or 'else' or 'endif'"},
        {"{% if x %}\nabc", "test:2: Unexpected end of template: 'elif' or 'else' or 'endif' is missing"},
        {"{% for x in y %}{% endif %}", "test:1: Encountered unknown tag 'endif'; looking for 'endfor' or 'else'"},
        {"{# a\n b", "test:1: Missing end of comment tag"},
        {"{% raw %}\n{% endra %}", "test:1: Missing end of raw directive"},
        {"x\n{{ 'abc }}", "test:2: a string that begins here has no end"},
        {"{{ '\\x4' }}", "test:1: an escape in a string needs 2 hexadecimal digits"},
        {"{{ '\\ud83d' }}", "test:1: an escape in a string stands for no character"},
        {"{{ a ? b }}", "test:1: unexpected char '?'"},
        {"{{ x|nosuch }}", "test:1: No filter named 'nosuch'."},
        {"\n{{ x is nosuch }}", "test:2: No test named 'nosuch'."},
        {"{% break %}", "test:1: 'break' outside of a loop"},
        {"{% set true = 1 %}", "test:1: can't assign to 'true'"},
        {"\xC3(", "test:1: the template is not valid UTF-8"},
        {"\n{{ x.y.z }}", "test:2: 'x' is undefined"},
        {"{% set d = {} %}\n\n{{ d.a.b }}", "test:3: 'dict object' has no attribute 'a'"},
        {"{{ [1][4].x }}", "test:1: list object has no element 4"},
        {"{% for m in [1] %}\n{{ m + 'a' }}\n{% endfor %}",
         "test:2: unsupported operand type(s) for +: 'int' and 'str'"},
        {"{% macro f() %}\n{{ 1/0 }}\n{% endmacro %}\n\n{{ f() }}", "test:2: division by zero"},
        {"{% macro f() %}\n\n\n{% endmacro %}\n{{ f() ~ 1/0 }}", "test:5: division by zero"},
        {"{{ 'a' + 1 }}", "test:1: can only concatenate str (not \"int\") to str"},
        {"{{ 5() }}", "test:1: 'int' object is not callable"},
        {"{{ [].append(1) }}", "test:1: access to attribute 'append' of 'list' object is unsafe."},
        {"{{ [].pop() }}", "test:1: access to attribute 'pop' of 'list' object is unsafe."},
        {"{{ {}.update({}) }}", "test:1: access to attribute 'update' of 'dict' object is unsafe."},
        {"{{ none|list }}", "test:1: 'NoneType' object is not iterable"},
        {"{% set a, b = [1] %}", "test:1: not enough values to unpack (expected 2, got 1)"},
        {"{% set x = 1 %}{% set x.y = 1 %}", "test:1: cannot assign attribute 'y' on non-namespace object"},
        {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "test:1: macro 'f' takes not more than 1 argument(s)"},
        {"{% macro f(a) %}{% endmacro %}{{ f(b=2) }}", "test:1: macro 'f' takes no keyword argument 'b'"},
        {"{{ 'a'|replace('b') }}", "test:1: replace() missing a required argument: 'new'"},
        {"{{ undefined_name|tojson }}", "test:1: Object of type Undefined is not JSON serializable"},
        {"{% include 'other' %}", "test:1: 'include' needs other templates, and a chat template stands alone"},
        {"{{ 10 ** 5000 }}", "test:1: the product of two integers is too large"},
        {"{{ 2 ** 99999999999999999999 }}", "test:1: an exponent of 99999999999999999999 is too large"},
        {"{{ 10 ** 400 + 0.5 }}", "test:1: int too large to convert to float"},
        {"{{ 10 ** 20 % 0 }}", "test:1: integer division or modulo by zero"},
        {"{{ 'a'|wordwrap(0) }}", "test:1: invalid width 0 (must be > 0)"},
        {"{{ {'a b': 1}|xmlattr }}", "test:1: Invalid character in attribute name: 'a b'"},
    });
    for (const Mistake& mistake : mistakes) {
        EXPECT_THAT(error_of(mistake.source), StartsWith(mistake.message)) << mistake.source;
    }
}

TEST(Jinja, ParsingAndRenderingFailWithDifferentCodes) {
    auto code_of = [](const char* source) {
        try {
            run(source);
        } catch (const Error& error) {
            return error.code();
        }
        return ErrorCode::kIo;
    };
    EXPECT_EQ(code_of("{{"), ErrorCode::kInvalidFile);
    EXPECT_EQ(code_of("{{ 1/0 }}"), ErrorCode::kUsage);
    EXPECT_EQ(code_of("{{ raise_exception('no') }}"), ErrorCode::kUsage);
}

TEST(Jinja, RaiseExceptionPassesTheTemplatesOwnWords) {
    EXPECT_EQ(error_of("{{ raise_exception('Roles must alternate: ' ~ 2) }}"), "Roles must alternate: 2");
}

TEST(Jinja, VariablesMustBeAJsonObject) {
    EXPECT_THAT(error_of("x", "[1]"), HasSubstr("must be a JSON object"));
    EXPECT_THAT(error_of("x", "{\"a\": "), AllOf(HasSubstr("not valid JSON"), HasSubstr("byte")));
    EXPECT_THAT(error_of("x", "{\"a\": \"\xC3(\"}"), HasSubstr("not valid JSON"));
    EXPECT_THAT(error_of("x", ""), HasSubstr("not valid JSON"));
    EXPECT_EQ(error_of("x", "{}"), "");
}

TEST(Jinja, NumbersOfTheInputKeepAllTheirDigits) {
    const std::string variables = R"({"a": 123456789012345678901234567890, "b": 1.0, "c": 0.1, "d": -5, "e": 1e400})";
    EXPECT_EQ(run("{{ a }} {{ a|tojson }} {{ [a] }} {{ a is integer }}",
                  variables.substr(0, variables.find(", \"e\"")) + "}"),
              "123456789012345678901234567890 123456789012345678901234567890 "
              "[123456789012345678901234567890] True");
    EXPECT_EQ(run("{{ [b, c, d]|tojson }}", R"({"b": 1.0, "c": 0.1, "d": -5})"), "[1.0, 0.1, -5]");
    EXPECT_THAT(error_of("{{ e }}", variables), HasSubstr("not valid JSON"));
}

TEST(Jinja, RepeatedKeysOfTheInputKeepTheFirstPlaceAndTheLastValue) {
    EXPECT_EQ(run("{{ d }}", R"({"d": {"a": 1, "b": 2, "a": 3}})"), "{'a': 3, 'b': 2}");
}

TEST(Jinja, StrftimeNowIsToday) {
    const std::time_t before = std::time(nullptr);
    const std::string text = run("{{ strftime_now('%Y-%m-%d %%') }}");
    const std::time_t after = std::time(nullptr);
    auto day = [](std::time_t time) {
        std::array<char, 32> buffer{};
        std::tm local{};
        localtime_r(&time, &local);
        return std::string(buffer.data(), std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %%", &local));
    };
    EXPECT_TRUE(text == day(before) || text == day(after)) << text;
    EXPECT_EQ(run("{{ strftime_now('') }}"), "");
}

// Each would run, recurse or grow without end, or as good as.
TEST(Jinja, HostileTemplatesEndInAnError) {
    const std::string deep(2000, '(');
    const std::vector<std::string> templates = {
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% for x in [1] %}{% if x %}{{ g() }}{% endif %}{% endfor %}{% endmacro %}"
        "{% macro g() %}{{ f() }}{% endmacro %}{{ g() }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% for x in range(3) recursive %}{{ loop(range(3)) }}{% endfor %}",
        "{{ range(1000000000) }}",
        "{% set ns = namespace(x='ab') %}{% for a in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x "
        "}}",
        "{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns }}",
        "{% set ns = namespace(l=0) %}{% for i in range(9999) %}{% for x in [ns.l] %}{% set ns.l = loop %}{% "
        "endfor %}"
        "{% endfor %}",
        "{{ 'x' * 9223372036854775807 }}",
        "{{ [1] * 9223372036854775807 }}",
        "{{ 'x' * 100000 * 100000 }}",
        "{{ ('x' * 100000)|replace('x', 'y' * 100000) }}",
        "{{ (['x' * 100000] * 10000)|join }}",
        "{{ ['x' * 100000] * 10000 }}",
        "{{ (['x' * 100000] * 10000)|tojson }}",
        "{{ 'x'.center(99999999999) }}",
        "{{ 'x'.zfill(99999999999) }}",
        "{{ '\t'.expandtabs(99999999999) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ '{:99999999999}'.format(1) }}",
        "{{ 'a\nb'|indent(99999999999) }}",
        "{{ [1]|tojson(indent=99999999999) }}",
        "{{ [1]|batch(99999999999, 0)|list }}",
        "{{ [1]|slice(99999999999)|list }}",
        "{{ " + deep + " }}",
        "{{ " + std::string(2000, '[') + " }}",
        "{{ " + std::string(2000, '-') + "1 }}",
        "{% set " + deep + " %}",
    };
    const Limits limits{.steps = 400'000, .bytes = size_t{32} << 20};
    for (const std::string& source : templates) {
        EXPECT_NE(error_of(source, "{}", limits), "") << source.substr(0, 100);
    }
    std::string chain = "{{ 1";
    std::string ladder = "{{ 1";
    std::string blocks;
    for (int i = 0; i < 5000; ++i) {
        chain += " + 1";
        ladder += " if 1 else 1";
        blocks += "{% if 1 %}";
    }
    EXPECT_THAT(error_of(chain + " }}"), HasSubstr("levels"));
    EXPECT_THAT(error_of(ladder + " }}"), HasSubstr("levels"));
    EXPECT_THAT(error_of(blocks), HasSubstr("levels"));
    EXPECT_THAT(error_of("x", "{\"a\": " + std::string(100'000, '[') + "}"), HasSubstr("levels"));
}

TEST(Jinja, LongChainsOfObjectsAreTakenDownWithoutRecursion) {
    EXPECT_EQ(run("{% set ns = namespace(x=0) %}{% for a in range(100000) %}{% set n = namespace(p=ns.x) %}"
                  "{% set ns.x = n %}{% endfor %}done"),
              "done");
}

TEST(Jinja, ValuesThatHoldThemselvesAreGivenBack) {
    // For the address sanitizer: none of these cycles may leak.
    EXPECT_EQ(run("{% set ns = namespace() %}{% set ns.me = [ns] %}{{ ns == ns }}"), "True");
    EXPECT_EQ(run("{% for i in [1] %}{{ loop.changed([loop]) }}{% endfor %}"), "True");
    EXPECT_EQ(run("{% macro f() %}{% set g = f %}x{% endmacro %}{{ f() }}"), "x");
    EXPECT_THAT(error_of("{% set ns = namespace() %}{% set ns.me = ns %}{{ 1/0 }}"), HasSubstr("division by zero"));
}

TEST(Jinja, StepsAreCountedPerRendering) {
    const Template loop = parse("{% for i in range(1000) %}{{ i }}{% endfor %}", "test");
    const Limits limits{.steps = 20'000};
    for (int i = 0; i < 100; ++i) EXPECT_EQ(render(loop, {}, "{}", limits).size(), 2890u);
}

TEST(Jinja, OneTemplateRendersOnManyThreads) {
    const Template shared =
        parse("{% for m in messages %}{{ m.role|upper }}:{{ m.content|tojson }};{% endfor %}", "test");
    std::vector<std::string> results(4);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < results.size(); ++t) {
        threads.emplace_back([&, t] {
            const std::string variables =
                R"({"messages": [{"role": "user", "content": "n)" + std::to_string(t) + "\"}]}";
            for (int i = 0; i < 200; ++i) results[t] = render(shared, {}, variables).text();
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (size_t t = 0; t < results.size(); ++t) EXPECT_EQ(results[t], "USER:\"n" + std::to_string(t) + "\";");
}

}  // namespace
}  // namespace sluice::jinja
