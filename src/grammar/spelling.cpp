#include "grammar/spelling.h"

#include <algorithm>

namespace sluice::grammar {

namespace {

constexpr uint32_t kHighFirst = 0xD800, kLowFirst = 0xDC00, kLowLast = 0xDFFF;

// Above 15: no digit.
uint32_t hex_digit(uint8_t byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    const uint8_t lower = byte | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

}  // namespace

Partial::Step Partial::step(Spelling spelling, uint8_t byte, char32_t& character) {
    switch (kind()) {
        case Kind::kBetween:
            return step_between(spelling, byte, character);
        case Kind::kUnopened:
            return byte == '"' ? become(Partial()) : Step::kDead;
        case Kind::kClosed:
            return Step::kDead;
        case Kind::kUtf8:
            return step_utf8(byte, character);
        case Kind::kEscape:
            return step_escape(byte, character);
        case Kind::kHex:
            return step_hex(byte, character);
        case Kind::kHigh:
            return byte == '\\' ? become(Partial(Kind::kHighSlash, 0, value())) : Step::kDead;
        case Kind::kHighSlash:
            return byte == 'u' ? become(Partial(Kind::kLowHex, 4, value() << 12)) : Step::kDead;
        case Kind::kLowHex:
            return step_low_hex(byte, character);
    }
    return Step::kDead;
}

Partial::Step Partial::step_between(Spelling spelling, uint8_t byte, char32_t& character) {
    if (byte >= 0x80) {
        if (byte < 0xC2 || byte > 0xF4) return Step::kDead;
        const uint32_t left = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
        return become(Partial(Kind::kUtf8, left, byte & (0x3Fu >> left)));
    }
    if (spelling == Spelling::kJsonString) {
        if (byte == '"') {
            *this = Partial(Kind::kClosed);
            return Step::kClosed;
        }
        if (byte == '\\') return become(Partial(Kind::kEscape));
        if (byte < 0x20) return Step::kDead;
    }
    return complete(byte, character);
}

Partial::Step Partial::step_utf8(uint8_t byte, char32_t& character) {
    if ((byte & 0xC0) != 0x80) return Step::kDead;
    const uint32_t left = this->left() - 1;
    const uint32_t value = this->value() << 6 | (byte & 0x3F);
    if (left == 0) return complete(value, character);
    // Three or four bytes for what fewer would do.
    if ((left == 2 && value < 0x10) || (left == 1 && value < 0x20)) return Step::kDead;
    return become(Partial(Kind::kUtf8, left, value));
}

Partial::Step Partial::step_escape(uint8_t byte, char32_t& character) {
    switch (byte) {
        case '"':
        case '\\':
        case '/':
            return complete(byte, character);
        case 'b':
            return complete('\b', character);
        case 'f':
            return complete('\f', character);
        case 'n':
            return complete('\n', character);
        case 'r':
            return complete('\r', character);
        case 't':
            return complete('\t', character);
        case 'u':
            return become(Partial(Kind::kHex, 4));
        default:
            return Step::kDead;
    }
}

Partial::Step Partial::step_hex(uint8_t byte, char32_t& character) {
    const uint32_t digit = hex_digit(byte);
    if (digit > 15) return Step::kDead;
    const uint32_t value = this->value() << 4 | digit;
    if (left() > 1) return become(Partial(Kind::kHex, left() - 1, value));
    if (value < kHighFirst || value > kLowLast) return complete(value, character);
    return value < kLowFirst ? become(Partial(Kind::kHigh, 0, value - kHighFirst)) : Step::kDead;
}

Partial::Step Partial::step_low_hex(uint8_t byte, char32_t& character) {
    const uint32_t digit = hex_digit(byte);
    if (digit > 15) return Step::kDead;
    // A low surrogate begins with D, and then C to F: its first digit adds nothing, the second its two lowest bits.
    if (left() == 4) return digit == 0xD ? become(Partial(Kind::kLowHex, 3, value())) : Step::kDead;
    if (left() == 3 && digit < 0xC) return Step::kDead;
    const uint32_t bits = left() == 3 ? digit - 0xC : digit;
    const uint32_t value = this->value() | bits << (4 * (left() - 1));
    if (left() > 1) return become(Partial(Kind::kLowHex, left() - 1, value));
    return complete(0x10000 + ((value >> 12) << 10 | (value & 0x3FF)), character);
}

Partial::Ranges Partial::possible() const {
    constexpr uint32_t kAll = 0x10FFFF;
    switch (kind()) {
        case Kind::kUtf8: {
            const uint32_t bits = 6 * left();
            uint32_t low = value() << bits;
            const uint32_t high = low | ((1u << bits) - 1);
            if (left() == 3) low = std::max(low, 0x10000u);
            if (left() == 2) low = std::max(low, 0x800u);
            return {.ranges = {CharRange{low, high}}, .count = 1};
        }
        case Kind::kHex: {
            const uint32_t bits = 4 * left();
            const uint32_t low = value() << bits;
            const uint32_t high = low | ((1u << bits) - 1);
            Ranges result{.ranges = {CharRange{low, high}}, .count = 1};
            const uint32_t first = std::max(low, kHighFirst), last = std::min(high, kLowFirst - 1);
            if (first <= last) {
                result.ranges[1] = {0x10000 + ((first - kHighFirst) << 10),
                                    0x10000 + ((last - kHighFirst) << 10 | 0x3FF)};
                result.count = 2;
            }
            return result;
        }
        case Kind::kHigh:
        case Kind::kHighSlash:
            return {.ranges = {CharRange{0x10000 + (value() << 10), 0x10000 + (value() << 10 | 0x3FF)}}, .count = 1};
        case Kind::kLowHex: {
            const uint32_t bits = std::min(4 * left(), 10u);
            const uint32_t low = 0x10000 + ((value() >> 12) << 10 | (value() & 0x3FF));
            return {.ranges = {CharRange{low, low | ((1u << bits) - 1)}}, .count = 1};
        }
        default:
            return {.ranges = {CharRange{0, kAll}}, .count = 1};
    }
}

}  // namespace sluice::grammar
