#include <gtest/gtest.h>

#include <chrono>

#include "text/byte_alphabet.h"
#include "text/unicode_forms.h"
#include "unicode/utf8.h"

namespace sluice {
namespace {

TEST(Utf8, MalformedSequencesBecomeOneReplacementEach) {
    const std::pair<std::string, std::string> cases[] = {
        {"a\u00e9\u4e2d\U0001F642", "a\u00e9\u4e2d\U0001F642"},
        {"\x80", "\uFFFD"},
        {"\xC3(", "\uFFFD("},
        {"\xC0\xAF", "\uFFFD\uFFFD"},                      // overlong
        {"\xE0\x80\xAF", "\uFFFD\uFFFD\uFFFD"},            // overlong
        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},            // a surrogate
        {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},  // above U+10FFFF
        {"\xE2\x82", "\uFFFD"},
        {"\xF0\x9F\x99z", "\uFFFDz"},
        {"\xF0\x9F\xF0\x9F", "\uFFFD\uFFFD"},
        {std::string("a\0b", 3), std::string("a\0b", 3)},
    };
    for (const auto& [bytes, text] : cases) {
        EXPECT_EQ(utf8::sanitize(bytes), text);
        EXPECT_EQ(utf8::is_valid(bytes), bytes == text);
    }
}

TEST(Utf8, KnowsWhatMayStillBecomeACharacter) {
    EXPECT_EQ(utf8::incomplete_tail(""), 0u);
    EXPECT_EQ(utf8::incomplete_tail("a"), 0u);
    EXPECT_EQ(utf8::incomplete_tail("a\xC3"), 1u);
    EXPECT_EQ(utf8::incomplete_tail("a\xC3\xA9"), 0u);
    EXPECT_EQ(utf8::incomplete_tail("\xF0\x9F\x99"), 3u);
    EXPECT_EQ(utf8::incomplete_tail("\xF0\x80"), 0u);  // nothing makes this a character
    EXPECT_EQ(utf8::incomplete_tail("\xE2\x82\x82\x82"), 0u);
    EXPECT_EQ(utf8::incomplete_tail("\xF8"), 0u);
}

TEST(Utf8, EveryCharacterRoundTrips) {
    for (char32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 37) {
        if (c >= 0xD800 && c < 0xE000) continue;
        std::string text;
        utf8::append(text, c);
        const utf8::Decoded decoded = utf8::decode(text, 0);
        ASSERT_TRUE(decoded.valid);
        ASSERT_EQ(decoded.value, c);
        ASSERT_EQ(decoded.length, text.size());
        ASSERT_EQ(utf8::length_from_lead(text[0]), text.size());
    }
}

TEST(Utf8, FindsWhiteSpaceAtTheEnds) {
    EXPECT_EQ(utf8::leading_space_end(" \u3000a "), 4u);
    EXPECT_EQ(utf8::trailing_space_begin(" a\u00e9 \u3000\n"), 4u);
    EXPECT_EQ(utf8::trailing_space_begin(" \u2003"), 0u);
    EXPECT_EQ(utf8::trailing_space_begin("\u200b"), 3u);
}

TEST(ByteAlphabet, IsABijection) {
    for (int byte = 0; byte < 256; ++byte) {
        const char32_t character = byte_alphabet::character_of(static_cast<uint8_t>(byte));
        EXPECT_EQ(byte_alphabet::byte_of(character), byte);
    }
    EXPECT_EQ(byte_alphabet::character_of(' '), 0x120u);
    EXPECT_EQ(byte_alphabet::character_of('\n'), 0x10Au);
    EXPECT_EQ(byte_alphabet::character_of(0xAD), 0x143u);
    EXPECT_EQ(byte_alphabet::byte_of(' '), std::nullopt);
    EXPECT_EQ(byte_alphabet::byte_of(0x144), std::nullopt);
}

TEST(UnicodeForms, ComposeAndDecompose) {
    EXPECT_EQ(to_unicode_form("a\u0323\u0307", UnicodeForm::kNfc), "\u1ea1\u0307");
    EXPECT_EQ(to_unicode_form("a\u0307\u0323", UnicodeForm::kNfc),
              "\u1ea1\u0307");  // marks are ordered first
    EXPECT_EQ(to_unicode_form("\u1100\u1161\u11a8", UnicodeForm::kNfc), "\uac01");
    EXPECT_EQ(to_unicode_form("\uac01", UnicodeForm::kNfd), "\u1100\u1161\u11a8");
    EXPECT_EQ(to_unicode_form("\u0958", UnicodeForm::kNfc), "\u0915\u093c");  // excluded from composition
    EXPECT_EQ(to_unicode_form("\u0344", UnicodeForm::kNfc), "\u0308\u0301");
    EXPECT_EQ(to_unicode_form("\ufdfa", UnicodeForm::kNfkd).size(), 33u);  // the longest decomposition
    EXPECT_EQ(to_unicode_form(std::string("\0\u00e9", 3), UnicodeForm::kNfc), std::string("\0\u00e9", 3));
}

TEST(UnicodeForms, LongRunsOfMarksAreSortedInTime) {
    std::string text = "a";
    for (int i = 0; i < 200'000; ++i) text += i % 2 ? "\u0323" : "\u0301";
    const auto begin = std::chrono::steady_clock::now();
    const std::string form = to_unicode_form(text, UnicodeForm::kNfd);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
    EXPECT_EQ(form.size(), text.size());
    EXPECT_EQ(form.substr(1, 4), "\u0323\u0323");
}

}  // namespace
}  // namespace sluice
