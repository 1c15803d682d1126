#include "grammar/char_automaton.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/error.h"
#include "unicode/utf8.h"

namespace sluice::grammar {

namespace {

using State = CharAutomaton::State;
using Transition = CharAutomaton::Transition;

// Of each state, whether an accepting one can be reached from it.
std::vector<bool> find_live(const std::vector<State>& states) {
    std::vector<std::vector<uint32_t>> sources(states.size());
    std::vector<bool> live(states.size());
    std::vector<uint32_t> pending;
    for (uint32_t s = 0; s < states.size(); ++s) {
        for (const Transition& t : states[s].transitions) sources[t.target].push_back(s);
        if (states[s].accepting) pending.push_back(s), live[s] = true;
    }
    while (!pending.empty()) {
        const uint32_t s = pending.back();
        pending.pop_back();
        for (const uint32_t source : sources[s]) {
            if (!live[source]) pending.push_back(source), live[source] = true;
        }
    }
    return live;
}

// The states of a product in the order in which they are met.
class Pairs {
  public:
    uint32_t number(uint32_t a, uint32_t b) {
        const auto [at, fresh] = numbers_.try_emplace(uint64_t{a} << 32 | b, static_cast<uint32_t>(list_.size()));
        if (fresh) {
            if (list_.size() >= kAutomatonStates) {
                fail(ErrorCode::kUsage, "the rules for one text together need more than {} states", kAutomatonStates);
            }
            list_.emplace_back(a, b);
        }
        return at->second;
    }
    size_t size() const { return list_.size(); }
    std::pair<uint32_t, uint32_t> at(size_t i) const { return list_[i]; }

  private:
    std::unordered_map<uint64_t, uint32_t> numbers_;
    std::vector<std::pair<uint32_t, uint32_t>> list_;
};

// Cuts the transitions of `a` where those of `b` begin and end: visit(low, high, target in a, target in b or kDead).
template <typename Visit>
void for_each_cut(std::span<const Transition> a, std::span<const Transition> b, const Visit& visit) {
    size_t at = 0;
    for (const Transition& t : a) {
        char32_t low = t.low;
        while (low <= t.high) {
            while (at < b.size() && b[at].high < low) ++at;
            const bool inside = at < b.size() && b[at].low <= low;
            const char32_t until = inside ? b[at].high : at < b.size() ? b[at].low - 1 : t.high;
            const char32_t high = std::min(t.high, until);
            visit(low, high, t.target, inside ? b[at].target : CharAutomaton::kDead);
            low = high + 1;
        }
    }
}

CharAutomaton product(const CharAutomaton& a, const CharAutomaton& b, bool subtract) {
    if (a.empty() || (b.empty() && !subtract)) return {};
    if (b.empty()) return a;
    Pairs pairs;
    pairs.number(0, 0);
    std::vector<State> states;
    for (size_t i = 0; i < pairs.size(); ++i) {
        const auto [in_a, in_b] = pairs.at(i);
        const bool in_second = in_b != CharAutomaton::kDead;
        State state{.accepting = a.accepting(in_a) && (in_second && b.accepting(in_b)) != subtract};
        const std::span<const Transition> others = in_second ? b.transitions(in_b) : std::span<const Transition>();
        for_each_cut(a.transitions(in_a), others, [&](char32_t low, char32_t high, uint32_t to_a, uint32_t to_b) {
            if (to_b == CharAutomaton::kDead && !subtract) return;
            state.transitions.push_back({low, high, pairs.number(to_a, to_b)});
        });
        states.push_back(std::move(state));
    }
    return CharAutomaton(states);
}

}  // namespace

CharAutomaton::CharAutomaton(const std::vector<State>& states) {
    const std::vector<bool> live = find_live(states);
    if (states.empty() || !live[0]) return;
    std::vector<uint32_t> renamed(states.size(), kDead);
    for (uint32_t s = 0, count = 0; s < states.size(); ++s) {
        if (live[s]) renamed[s] = count++;
    }
    for (uint32_t s = 0; s < states.size(); ++s) {
        if (!live[s]) continue;
        begins_.push_back(static_cast<uint32_t>(transitions_.size()));
        const size_t first = transitions_.size();
        for (const Transition& t : states[s].transitions) {
            const uint32_t target = renamed[t.target];
            if (target == kDead) continue;
            if (transitions_.size() > first && transitions_.back().target == target &&
                transitions_.back().high + 1 == t.low) {
                transitions_.back().high = t.high;
            } else {
                transitions_.push_back({t.low, t.high, target});
            }
        }
        accepting_.push_back(states[s].accepting);
    }
    begins_.push_back(static_cast<uint32_t>(transitions_.size()));
}

uint32_t CharAutomaton::next(uint32_t state, char32_t character) const {
    const std::span<const Transition> list = transitions(state);
    const auto at = std::ranges::lower_bound(list, character, {}, &Transition::high);
    return at != list.end() && at->low <= character ? at->target : kDead;
}

bool CharAutomaton::accepts(std::u32string_view text) const {
    if (empty()) return false;
    uint32_t state = 0;
    for (const char32_t character : text) {
        state = next(state, character);
        if (state == kDead) return false;
    }
    return accepting(state);
}

CharAutomaton intersection(const CharAutomaton& a, const CharAutomaton& b) {
    return product(a, b, false);
}

CharAutomaton difference(const CharAutomaton& a, const CharAutomaton& b) {
    return product(a, b, true);
}

CharAutomaton literals(const std::vector<std::u32string>& texts) {
    std::vector<std::map<char32_t, uint32_t>> children(1);
    std::vector<bool> ends(1);
    for (const std::u32string& text : texts) {
        uint32_t node = 0;
        for (const char32_t character : text) {
            const auto [at, fresh] = children[node].try_emplace(character, static_cast<uint32_t>(children.size()));
            node = at->second;
            if (!fresh) continue;
            children.emplace_back();
            ends.push_back(false);
        }
        ends[node] = true;
    }
    std::vector<State> states(children.size());
    for (size_t i = 0; i < children.size(); ++i) {
        states[i].accepting = ends[i];
        for (const auto& [character, target] : children[i]) {
            states[i].transitions.push_back({character, character, target});
        }
    }
    return CharAutomaton(states);
}

std::u32string to_characters(std::string_view utf8) {
    std::u32string text;
    for (size_t at = 0; at < utf8.size();) {
        const utf8::Decoded decoded = utf8::decode(utf8, at);
        text.push_back(decoded.value);
        at += decoded.length;
    }
    return text;
}

}  // namespace sluice::grammar
