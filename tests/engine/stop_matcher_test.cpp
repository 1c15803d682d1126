#include "sluice/stop_matcher.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

std::string feed(StopMatcher& matcher, const std::string& text) {
    std::string out;
    for (const char c : text) out += matcher.push(std::string(1, c));
    return out + matcher.finish("");
}

TEST(StopMatcher, PassesTextThroughWithoutStopStrings) {
    StopMatcher matcher({});
    EXPECT_EQ(matcher.push("abc"), "abc");
    EXPECT_EQ(matcher.finish("d"), "d");
}

TEST(StopMatcher, HoldsBackWhatMayBecomeAStopString) {
    StopMatcher matcher({"END"});
    EXPECT_EQ(matcher.push("xE"), "x");
    EXPECT_EQ(matcher.push("N"), "");
    EXPECT_EQ(matcher.push("x"), "ENx");
    EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, StopsInsideAndAcrossPieces) {
    StopMatcher matcher({"END", "\n\n"});
    EXPECT_EQ(feed(matcher, "one\ntwo\n\nthree"), "one\ntwo");
    EXPECT_TRUE(matcher.stopped());
    EXPECT_EQ(matcher.found(), "\n\n");
    StopMatcher whole({"b", "abc"});
    EXPECT_EQ(whole.push("xxabcd"), "xx");
    EXPECT_EQ(whole.found(), "abc");
}

TEST(StopMatcher, FindsWhatIsNotShown) {
    StopMatcher matcher({"<end>", "a<x>b"});
    EXPECT_EQ(matcher.push("hi"), "hi");
    EXPECT_EQ(matcher.push("<other>", false), "");
    EXPECT_EQ(matcher.push("a"), "");
    EXPECT_EQ(matcher.push("<x>", false), "");
    EXPECT_EQ(matcher.push("c"), "ac") << "held back, and shown without the special token";
    EXPECT_EQ(matcher.push("<end>", false), "");
    EXPECT_TRUE(matcher.stopped());
    EXPECT_EQ(matcher.finish("more"), "");
    StopMatcher across({"a<x>b"});
    EXPECT_EQ(across.push("1a"), "1");
    EXPECT_EQ(across.push("<x>", false), "");
    EXPECT_EQ(across.push("b2"), "");
    EXPECT_TRUE(across.stopped());
}

TEST(StopMatcher, SelfOverlappingPattern) {
    StopMatcher matcher({"aab"});
    EXPECT_EQ(feed(matcher, "aaab."), "a");
    EXPECT_TRUE(matcher.stopped());
}

TEST(StopMatcher, EmptyStopStringsAreIgnored) {
    StopMatcher matcher({""});
    EXPECT_EQ(matcher.push("text"), "text");
}

}  // namespace
}  // namespace sluice
