#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sluice/error.h"
#include "tests/grammar/grammar_fixture.h"

namespace sluice::test {
namespace {

using ::testing::HasSubstr;

struct GbnfCase {
    const char* name;
    const char* text;
    std::vector<const char*> good;
    std::vector<const char*> bad;
};

const GbnfCase kCases[] = {
    {"literals", R"(root ::= "yes" | "no" # either)", {"yes", "no"}, {"", "ye", "yesno"}},
    {"classes", R"(root ::= [a-z0-9_]+ [^a-z\n] "\x41\u00e9\"")", {"ab_1-A\u00e9\"", "a1A\u00e9\""}, {"-Aé\"", "abA"}},
    {"lines",
     "root ::= first\n  | second\nfirst ::= (\n  \"a\"\n  \"b\"\n)\n\n# comment\nsecond ::= \"c\"?",
     {"ab", "c", ""},
     {"a", "abc"}},
    {"counts", R"(root ::= "a"{2} "b"{1,} "c"{0,2} "d"{,1})", {"aab", "aabbbccd"}, {"ab", "aa", "aabccc", "aabdd"}},
    {"counted_rule", "root ::= pair{2,3}\npair ::= \"(\" pair? \")\"", {"()()", "(())()()"}, {"()", "()()()()"}},
    {"repeated_counts",
     "root ::= (\"x\"{2,3} \";\")* inner{0,2}\ninner ::= \"[\" inner* \"]\"",
     {"", "xx;xxx;", "xx;[[]]", "[][]"},
     {"x;", "xxxx;", "[][][]"}},
    {"balanced", "root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", "())"}},
    {"right_recursion", R"(root ::= "a" root | "b")", {"b", "aaaaaaaaab"}, {"a"}},
    {"long_repeat", R"(root ::= [0-9]{2,5000} "." .)", {"12.x", "123456.é"}, {"1.x", "12."}},
    {"arithmetic",
     "root ::= term ([-+*/] term)*\nterm ::= [0-9]+ | \"(\" root \")\"",
     {"1+2", "(1+2)*3"},
     {"1+", "(1"}},
    {"nullable_loop", R"(root ::= ("a"? "b"?)* "c")", {"c", "abbac"}, {"ab"}},
};

class GbnfMask : public ::testing::TestWithParam<GbnfCase> {};

TEST_P(GbnfMask, takes_what_is_derived) {
    const std::shared_ptr<const Grammar> grammar = gbnf_grammar(GetParam().text);
    for (const char* text : GetParam().good) EXPECT_TRUE(takes(grammar, text)) << text;
    for (const char* text : GetParam().bad) EXPECT_FALSE(takes(grammar, text)) << text;
}

INSTANTIATE_TEST_SUITE_P(Cases, GbnfMask, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Gbnf, refuses_by_line_or_rule) {
    const std::pair<const char*, const char*> kRefused[] = {
        {"", "no rule `root`"},
        {"root ::= \"a", "line 1 of the grammar has no end of a literal"},
        {"root ::= a\n", "line 1 of the grammar uses the rule `a`, which is not defined"},
        {"root ::= \"a\"\nroot ::= \"b\"", "line 2 of the grammar defines `root` a second time"},
        {"root ::= (\"a\"", "no end of its group"},
        {"root ::= \"a\" )", "begins no term"},
        {"root := \"a\"", "::="},
        {"root ::= [z-a]", "out of order"},
        {"root ::= \"\\q\"", "unknown escape"},
        {"root ::= \"a\"{3,2}", "maximum is below"},
        {"root ::= root \"a\" | \"b\"", "the rule `root` begins with itself"},
        {"root ::= x\nx ::= y? x \"b\" | \"c\"\ny ::= \"d\"", "the rule `x` begins with itself"},
        {"root ::= \"a\" root", "the rule `root` allows nothing"},
        {"root ::= <nothing>", "the token <nothing>, which the tokenizer has not"},
        {"root ::= <[99999]>", "outside the vocabulary"},
    };
    for (const auto& [text, message] : kRefused) EXPECT_THAT(gbnf_error(text), HasSubstr(message)) << text;
}

TEST(Gbnf, ambiguity_is_bounded) {
    const std::shared_ptr<const Grammar> grammar =
        gbnf_grammar("root ::= \"a\" (root \"b\" | root \"c\" | root \"d\") | \"x\"");
    EXPECT_TRUE(takes(grammar, "aaaxbcd"));
    GrammarState state(grammar);
    EXPECT_THROW(state.accept(std::string(64, 'a')), Error);
}

TEST(Gbnf, literals_may_be_written_with_added_tokens) {
    const TokenId call = json_tokenizer().find("<call>").value();
    const std::shared_ptr<const Grammar> grammar = gbnf_grammar("root ::= \"x<call>y\"");
    GrammarState by_token(grammar);
    ASSERT_TRUE(by_token.accept("x"));
    EXPECT_THAT(allowed_tokens(by_token), ::testing::Contains(call));
    ASSERT_TRUE(by_token.accept(call));
    ASSERT_TRUE(by_token.accept("y"));
    EXPECT_TRUE(by_token.is_finished());
    EXPECT_TRUE(takes(grammar, "x<call>y"));

    GrammarState only_token(gbnf_grammar("root ::= <call> \"y\""));
    EXPECT_EQ(allowed_tokens(only_token), std::vector<TokenId>{call});
}

TEST(Gbnf, rules_may_be_schemas) {
    const std::shared_ptr<const Grammar> grammar = json_compiler().gbnf(
        "root ::= " + gbnf_literal("<call>\n{\"name\": \"f\\\"\", \"arguments\": ") + " args \"}\"",
        {{"args", R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})"}});
    EXPECT_TRUE(takes(grammar, "<call>\n{\"name\": \"f\\\"\", \"arguments\": {\"n\": 3}}"));
    EXPECT_FALSE(takes(grammar, "<call>\n{\"name\": \"f\\\"\", \"arguments\": {\"n\": \"3\"}}"));
    EXPECT_FALSE(takes(grammar, "{\"n\": 3}"));
    try {
        json_compiler().gbnf("root ::= args", {{"args", R"({"not":{}})"}});
        FAIL() << "a schema that is not kept was taken";
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("rule `args`: `not` at #"));
    }
}

}  // namespace
}  // namespace sluice::test
