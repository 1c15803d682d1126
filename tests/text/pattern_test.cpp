#include "text/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace sluice {
namespace {

using Texts = std::vector<std::string>;

Texts matches(const std::string& pattern, const std::string& text) {
    PatternScratch scratch;
    std::vector<TextSpan> spans;
    Pattern::regex(pattern, "pattern").find(text, scratch, spans);
    Texts found;
    for (const TextSpan& span : spans) {
        if (span.matched) found.push_back(text.substr(span.begin, span.end - span.begin));
    }
    return found;
}

// What Oniguruma 6.9.8 finds.
TEST(Pattern, MeansWhatOnigurumaMeans) {
    EXPECT_EQ(matches("\\s+", "a \u00a0\u3000b\u180ec"), (Texts{" \u00a0\u3000"}));
    EXPECT_EQ(matches("[^\\s]+", "a\u180eb c"), (Texts{"a\u180eb", "c"}));
    EXPECT_EQ(matches("\\w+", "e\u0301_\u24b6 \u00b2-"), (Texts{"e\u0301_\u24b6", "\u00b2"}));
    EXPECT_EQ(matches("[\\w]+", "a\u00b2b"), (Texts{"a", "b"}));
    EXPECT_EQ(matches("\\h+|\\v", "xa9g\x0b\n"), (Texts{"a9", "\x0b"}));
    EXPECT_EQ(matches("a$|^b", "a\nb"), (Texts{"a", "b"}));
    EXPECT_EQ(matches("(?m:a.b)|c.d", "a\nb c\nd"), (Texts{"a\nb"}));
    EXPECT_EQ(matches("x(?i)a|b", "xA B xb"), (Texts{"xA", "xb"}));
    EXPECT_EQ(matches("\\u4e00|\\x41", "A\u4e00"), (Texts{"A", "\u4e00"}));
    EXPECT_EQ(matches("\\p{Letter}+|\\p{^L}", "ab1"), (Texts{"ab", "1"}));
    EXPECT_EQ(matches("\\p{Katakana}+", "\u30ab\u30fc"), (Texts{"\u30ab"}));  // the script, not its extensions
    EXPECT_EQ(matches("(?i:'s|'t)", "'S'\u017f't"), (Texts{"'S", "'\u017f", "'t"}));
}

TEST(Pattern, ClassesNestAndIntersect) {
    EXPECT_EQ(matches("[a[bc]]+", "xabcd"), (Texts{"abc"}));
    EXPECT_EQ(matches("[a-z&&[^aeiou]]+", "hello"), (Texts{"h", "ll"}));
    EXPECT_EQ(matches("[^a-z&&[^aeiou]]+", "he1o"), (Texts{"e1o"}));
    EXPECT_EQ(matches("[\\p{L}&&[^\\p{Han}]]+", "ab\u4e2dc"), (Texts{"ab", "c"}));
    EXPECT_EQ(matches("[]a]+", "b]a"), (Texts{"]a"}));
    EXPECT_EQ(matches("[[:alpha:]]+|[[:^space:]]", "ab 1"), (Texts{"ab", "1"}));
    EXPECT_EQ(matches("[\\W_]+", "a_-b"), (Texts{"_-"}));
}

TEST(Pattern, QuantifiersStack) {
    EXPECT_EQ(matches("\\d{1,3}+", "1234567"), (Texts{"1234567"}));
    EXPECT_EQ(matches("\\p{L}++a", "bba"), Texts{});
    EXPECT_EQ(matches("(?:ab){,2}c", "abababc"), (Texts{"ababc"}));
    EXPECT_EQ(matches("a{x|{", "a{x"), (Texts{"a{x"}));
    EXPECT_EQ(matches("a+*b", "aab"), (Texts{"aab"}));
}

TEST(Pattern, EmptyMatchesCountButNotAfterAMatch) {
    EXPECT_EQ(matches("a*", "baa\u4e2d"), (Texts{"", "aa", ""}));
    EXPECT_EQ(matches("(?<=[a-z])(?=[A-Z])", "aBcD"), (Texts{"", ""}));
    EXPECT_EQ(matches("a*", ""), Texts{});
}

TEST(Pattern, SpansCoverTheText) {
    PatternScratch scratch;
    std::vector<TextSpan> spans;
    Pattern::literal(".", "pattern").find("a..b", scratch, spans);
    ASSERT_EQ(spans.size(), 4u);
    EXPECT_FALSE(spans[0].matched);
    EXPECT_TRUE(spans[1].matched && spans[2].matched);
    EXPECT_EQ(spans[3].begin, 3u);
    EXPECT_EQ(spans[3].end, 4u);
}

TEST(Pattern, LongRunsDoNotOverflowTheStack) {
    const std::string text(1 << 20, 'x');
    EXPECT_EQ(matches("[\\p{L}&&[^\\p{Han}]]+", text), Texts{text});
    EXPECT_EQ(matches("(?:x|y)+", text), Texts{text});
    EXPECT_EQ(matches("\\s+(?!\\S)|\\s+", std::string(1 << 20, ' ') + "a").size(), 2u);
}

TEST(Pattern, RefusesWhatHasNoEquivalent) {
    for (const char* source : {"(",
                               ")",
                               "[a",
                               "*a",
                               "\\",
                               "(?~a)",
                               "(?W)a",
                               "(*FAIL)",
                               "\\X",
                               "\\Qa\\E",
                               "\\p{NoSuchScript}",
                               "\\pL",
                               "\\xe4",
                               "\\x{110000}",
                               "[[:nothing:]]",
                               "(?<x",
                               "\\u12",
                               "a{2,1}",
                               "\\p{}",
                               "(?P<x>a)"}) {
        try {
            Pattern::regex(source, "file.json: pattern");
            ADD_FAILURE() << source;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
            EXPECT_THAT(error.what(), testing::StartsWith("file.json: pattern"));
        }
    }
    EXPECT_THROW(Pattern::regex(std::string(100'000, '['), "pattern"), Error);
    EXPECT_THROW(Pattern::regex(std::string(100'000, '('), "pattern"), Error);
}

}  // namespace
}  // namespace sluice
