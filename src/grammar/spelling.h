#pragma once

// How the characters of a text are spelled in bytes: an automaton over characters is followed byte by byte.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "grammar/char_automaton.h"

namespace sluice::grammar {

enum class Spelling : uint8_t {
    kPlain,       // UTF-8
    kJsonString,  // a string of JSON, quotes and escapes included; a pair of escaped surrogates is one character
};

// Of the character that has begun; a number, so that states compare and hash.
class Partial {
  public:
    constexpr Partial() = default;  // between two characters
    static constexpr Partial unopened() { return Partial(Kind::kUnopened); }

    constexpr bool between() const { return kind() == Kind::kBetween; }
    constexpr bool closed() const { return kind() == Kind::kClosed; }
    constexpr uint32_t packed() const { return packed_; }
    bool operator==(const Partial&) const = default;

    enum class Step { kDead, kInside, kCharacter, kClosed };
    // Goes on by a byte. kCharacter: `character` is complete. kClosed: the string ended.
    Step step(Spelling spelling, uint8_t byte, char32_t& character);

    // The characters that may come of what has begun, as ranges; some of them may be none at all.
    struct Ranges {
        std::array<CharRange, 2> ranges;
        size_t count = 0;
        std::span<const CharRange> list() const { return {ranges.data(), count}; }
    };
    Ranges possible() const;

  private:
    enum class Kind : uint32_t {
        kBetween,
        kUnopened,  // before the opening quote
        kClosed,    // after the closing one
        kUtf8,      // `left` bytes are to come
        kEscape,    // after the backslash
        kHex,       // after \u, with `left` digits to come
        kHigh,      // after a high surrogate, whose low one must follow
        kHighSlash,
        kLowHex,  // its digits; above them stand the ten bits of the high one
    };
    constexpr explicit Partial(Kind kind, uint32_t left = 0, uint32_t value = 0)
        : packed_(static_cast<uint32_t>(kind) << 28 | left << 24 | value) {}
    constexpr Kind kind() const { return static_cast<Kind>(packed_ >> 28); }
    constexpr uint32_t left() const { return packed_ >> 24 & 15; }
    constexpr uint32_t value() const { return packed_ & 0xFFFFFF; }

    Step become(Partial next) {
        *this = next;
        return Step::kInside;
    }
    Step complete(char32_t value, char32_t& character) {
        *this = Partial();
        character = value;
        return Step::kCharacter;
    }
    Step step_between(Spelling spelling, uint8_t byte, char32_t& character);
    Step step_utf8(uint8_t byte, char32_t& character);
    Step step_escape(uint8_t byte, char32_t& character);
    Step step_hex(uint8_t byte, char32_t& character);
    Step step_low_hex(uint8_t byte, char32_t& character);

    uint32_t packed_ = 0;
};

}  // namespace sluice::grammar
