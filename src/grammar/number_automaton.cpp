#include "grammar/number_automaton.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "grammar/determinize.h"
#include "grammar/pattern_parser.h"

namespace sluice::grammar {

namespace {

constexpr size_t kDigits = 40;      // of whole numbers without a bound
constexpr size_t kDigitsMore = 20;  // than the other bound has

// Compares the magnitude of a number with that of a bound while its digits come.
class Comparison {
  public:
    void read_whole(const Decimal& bound, char digit) {
        if (digits_ == 0 && digit == '0') return;  // the number is 0
        if (digits_ < bound.whole.size() && order_ == 0) order_ = compare(digit, bound.whole[digits_]);
        digits_ = std::min(digits_ + 1, bound.whole.size() + 1);
    }
    void read_point(const Decimal& bound) {
        order_ = whole_order(bound);
        digits_ = 0;
        fraction_ = true;
    }
    void read_fraction(const Decimal& bound, char digit) {
        if (order_ != 0) return;
        if (digits_ == bound.fraction.size()) {
            if (digit != '0') settle(1);
            return;
        }
        const int order = compare(digit, bound.fraction[digits_++]);
        if (order != 0) settle(order);
    }
    // Were the number to end here.
    int result(const Decimal& bound) const {
        const int order = fraction_ ? order_ : whole_order(bound);
        if (order != 0) return order;
        const size_t read = fraction_ ? digits_ : 0;
        return read < bound.fraction.size() ? -1 : 0;
    }
    auto operator<=>(const Comparison&) const = default;

  private:
    static int compare(char a, char b) { return a < b ? -1 : a > b ? 1 : 0; }
    int whole_order(const Decimal& bound) const {
        if (digits_ != bound.whole.size()) return digits_ < bound.whole.size() ? -1 : 1;
        return order_;
    }
    void settle(int order) {
        order_ = order;
        digits_ = 0;
    }

    size_t digits_ = 0;  // read of the part that is being read
    int order_ = 0;
    bool fraction_ = false;
};

enum class Syntax { kStart, kSign, kZero, kWhole, kPoint, kFraction };

struct Reading {
    Syntax syntax = Syntax::kStart;
    bool negative = false;
    bool zero = true;  // no digit but 0 so far
    Comparison min = {};
    Comparison max = {};
    uint32_t remainder = 0;

    auto operator<=>(const Reading&) const = default;
};

class NumberBuilder {
  public:
    explicit NumberBuilder(const NumberRules& rules) : rules_(rules) {
        const size_t digits =
            std::max(rules.min ? rules.min->value.whole.size() : 0, rules.max ? rules.max->value.whole.size() : 0);
        const size_t most = std::max(kDigits, digits + kDigitsMore);
        min_ = rules.min.value_or(NumberRules::Bound{power_of_ten(most), true});
        if (!rules.min) min_.value.negative = true;
        max_ = rules.max.value_or(NumberRules::Bound{power_of_ten(most), true});
    }

    CharAutomaton build() {
        number({});
        for (size_t i = 0; i < list_.size(); ++i) {
            const Reading from = list_[i];
            states_[i].accepting = accepts(from);
            constexpr std::u32string_view kCharacters = U"-.0123456789";
            for (const char32_t c : kCharacters) {
                Reading to = from;
                if (!read(to, static_cast<char>(c))) continue;
                const uint32_t target = number(to);
                states_[i].transitions.push_back({c, c, target});
            }
        }
        return CharAutomaton(states_);
    }

  private:
    uint32_t number(const Reading& reading) {
        const auto [at, fresh] = numbers_.try_emplace(reading, static_cast<uint32_t>(list_.size()));
        if (fresh) {
            if (list_.size() >= kAutomatonStates) {
                fail(ErrorCode::kUsage, "the rules for a number need more than {} states", kAutomatonStates);
            }
            list_.push_back(reading);
            states_.emplace_back();
        }
        return at->second;
    }

    bool read(Reading& r, char c) const {
        if (c == '-') {
            if (r.syntax != Syntax::kStart) return false;
            r.syntax = Syntax::kSign;
            return r.negative = true;
        }
        if (c == '.') {
            if (r.syntax != Syntax::kZero && r.syntax != Syntax::kWhole) return false;
            r.syntax = Syntax::kPoint;
            r.min.read_point(min_.value);
            r.max.read_point(max_.value);
            return true;
        }
        switch (r.syntax) {
            case Syntax::kStart:
            case Syntax::kSign:
                r.syntax = c == '0' ? Syntax::kZero : Syntax::kWhole;
                break;
            case Syntax::kZero:
                return false;
            case Syntax::kWhole:
                break;
            case Syntax::kPoint:
                if (rules_.integer && c != '0') return false;
                r.syntax = Syntax::kFraction;
                break;
            case Syntax::kFraction:
                if (rules_.integer) return false;
                break;
        }
        r.zero = r.zero && c == '0';
        if (r.syntax == Syntax::kFraction) {
            r.min.read_fraction(min_.value, c);
            r.max.read_fraction(max_.value, c);
        } else {
            r.min.read_whole(min_.value, c);
            r.max.read_whole(max_.value, c);
            r.remainder = static_cast<uint32_t>((uint64_t{r.remainder} * 10 + static_cast<uint32_t>(c - '0')) %
                                                rules_.multiple_of);
        }
        return true;
    }

    // The number against a bound: below, equal or above.
    static int compare(const Reading& r, const Comparison& comparison, const Decimal& bound) {
        if (r.negative != bound.negative) return r.negative ? -1 : 1;
        const int order = comparison.result(bound);
        return r.negative ? -order : order;
    }

    bool accepts(const Reading& r) const {
        const bool whole = r.syntax == Syntax::kZero || r.syntax == Syntax::kWhole || r.syntax == Syntax::kFraction;
        if (!whole || (r.negative && r.zero) || r.remainder != 0) return false;
        const int above = compare(r, r.min, min_.value), below = compare(r, r.max, max_.value);
        return (above > 0 || (above == 0 && !min_.exclusive)) && (below < 0 || (below == 0 && !max_.exclusive));
    }

    const NumberRules& rules_;
    NumberRules::Bound min_, max_;
    std::map<Reading, uint32_t> numbers_;
    std::vector<Reading> list_;
    std::vector<CharAutomaton::State> states_;
};

}  // namespace

CharAutomaton number_automaton(const NumberRules& rules) {
    return NumberBuilder(rules).build();
}

CharAutomaton exponent_automaton() {
    // One digit before the point and at most 307 after the e: never infinite.
    return determinize(*parse_pattern(R"(-?[0-9](\.[0-9]+)?[eE][+-]?(0?[0-9]|[1-9][0-9]|[12][0-9]{2}|30[0-7]))"),
                       Match::kWhole);
}

}  // namespace sluice::grammar
