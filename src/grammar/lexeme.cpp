#include "grammar/lexeme.h"

#include <algorithm>

#include "base/error.h"

namespace sluice::grammar {

namespace {

constexpr uint64_t kExactLengths = uint64_t{1} << 24;

std::vector<std::vector<uint32_t>> sources_of(const CharAutomaton& automaton) {
    std::vector<std::vector<uint32_t>> sources(automaton.states());
    for (uint32_t s = 0; s < automaton.states(); ++s) {
        for (const CharAutomaton::Transition& t : automaton.transitions(s)) {
            if (sources[t.target].empty() || sources[t.target].back() != s) sources[t.target].push_back(s);
        }
    }
    return sources;
}

}  // namespace

RemainingLengths::RemainingLengths(const CharAutomaton& automaton, LengthBounds bounds) : bounds_(bounds) {
    find_shortest(automaton);
    if (bounds.min == 0) return;
    find_longest(automaton);
    // Further apart than there are states, some text has a length between the bounds: cycles are no longer than that.
    if (bounds.max - bounds.min < automaton.states()) find_exact(automaton);
}

void RemainingLengths::find_shortest(const CharAutomaton& automaton) {
    const std::vector<std::vector<uint32_t>> sources = sources_of(automaton);
    shortest_.assign(automaton.states(), kUnbounded);
    std::vector<uint32_t> layer, next;
    for (uint32_t s = 0; s < automaton.states(); ++s) {
        if (automaton.accepting(s)) layer.push_back(s), shortest_[s] = 0;
    }
    for (uint32_t length = 1; !layer.empty(); ++length) {
        next.clear();
        for (const uint32_t s : layer) {
            for (const uint32_t source : sources[s]) {
                if (shortest_[source] == kUnbounded) next.push_back(source), shortest_[source] = length;
            }
        }
        layer.swap(next);
    }
}

void RemainingLengths::find_longest(const CharAutomaton& automaton) {
    // States are taken off once all that follow them were; what stays is on a cycle or leads to one.
    const std::vector<std::vector<uint32_t>> sources = sources_of(automaton);
    std::vector<uint32_t> followers(automaton.states()), done;
    for (const std::vector<uint32_t>& list : sources) {
        for (const uint32_t s : list) ++followers[s];
    }
    longest_.assign(automaton.states(), kUnbounded);
    for (uint32_t s = 0; s < automaton.states(); ++s) {
        if (followers[s] == 0) done.push_back(s), longest_[s] = 0;
    }
    for (size_t i = 0; i < done.size(); ++i) {
        for (const uint32_t source : sources[done[i]]) {
            if (--followers[source] != 0) continue;
            uint32_t longest = 0;
            for (const CharAutomaton::Transition& t : automaton.transitions(source)) {
                longest = std::max(longest, longest_[t.target] + 1);
            }
            longest_[source] = longest;
            done.push_back(source);
        }
    }
}

void RemainingLengths::find_exact(const CharAutomaton& automaton) {
    const uint64_t entries = (uint64_t{bounds_.max} + 1) * automaton.states();
    if (entries > kExactLengths) {
        fail(ErrorCode::kUsage, "lengths of {} to {} characters are too many beside the other rules of the text",
             bounds_.min, bounds_.max);
    }
    const std::vector<std::vector<uint32_t>> sources = sources_of(automaton);
    exact_.assign(automaton.states(), std::vector<bool>(bounds_.max + 1));
    for (uint32_t s = 0; s < automaton.states(); ++s) exact_[s][0] = automaton.accepting(s);
    for (uint32_t length = 0; length < bounds_.max; ++length) {
        for (uint32_t s = 0; s < automaton.states(); ++s) {
            if (!exact_[s][length]) continue;
            for (const uint32_t source : sources[s]) exact_[source][length + 1] = true;
        }
    }
}

bool RemainingLengths::completes(uint32_t state, uint32_t count) const {
    if (count > bounds_.max) return false;
    const uint32_t most = bounds_.max == kUnbounded ? kUnbounded : bounds_.max - count;
    if (count >= bounds_.min) return shortest_[state] <= most;
    const uint32_t least = bounds_.min - count;
    if (exact_.empty()) return longest_[state] >= least && shortest_[state] <= most;
    const std::vector<bool>& lengths = exact_[state];
    for (uint32_t length = least; length <= most; ++length) {
        if (lengths[length]) return true;
    }
    return false;
}

Lexeme::Lexeme(AutomatonPointer automaton, Spelling spelling, LengthBounds bounds)
    : automaton_(std::move(automaton)), spelling_(spelling), bounds_(bounds) {
    if (bounds.bounded() && !automaton_->empty()) {
        lengths_ = std::make_shared<RemainingLengths>(*automaton_, bounds);
    }
}

bool Lexeme::empty() const {
    return automaton_->empty() || bounds_.min > bounds_.max || !completes(0, 0);
}

bool Lexeme::accepts_nothing_read() const {
    return ends(start());
}

LexemeState Lexeme::start() const {
    return {.partial = spelling_ == Spelling::kJsonString ? Partial::unopened() : Partial()};
}

bool Lexeme::may_complete(const LexemeState& at) const {
    return any_target(*automaton_, at.state, at.partial,
                      [&](uint32_t target) { return completes(target, at.count + 1); });
}

bool Lexeme::step(LexemeState& at, uint8_t byte) const {
    char32_t character = 0;
    switch (at.partial.step(spelling_, byte, character)) {
        case Partial::Step::kDead:
            return false;
        case Partial::Step::kClosed:
            return automaton_->accepting(at.state) && bounds_.contains(at.count);
        case Partial::Step::kInside:
            return at.partial.between() || may_complete(at);
        case Partial::Step::kCharacter:
            break;
    }
    at.state = automaton_->next(at.state, character);
    if (at.state == CharAutomaton::kDead) return false;
    // Past the minimum an unbounded text is in one state, however long.
    if (lengths_ && (bounds_.max != kUnbounded || at.count < bounds_.min)) ++at.count;
    return completes(at.state, at.count);
}

bool Lexeme::goes_on(const LexemeState& at) const {
    if (at.partial.closed()) return false;
    if (spelling_ == Spelling::kJsonString || !at.partial.between()) return true;
    return std::ranges::any_of(automaton_->transitions(at.state),
                               [&](const CharAutomaton::Transition& t) { return completes(t.target, at.count + 1); });
}

bool Lexeme::ends(const LexemeState& at) const {
    if (spelling_ == Spelling::kJsonString) return at.partial.closed();
    return at.partial.between() && !automaton_->empty() && automaton_->accepting(at.state) &&
           bounds_.contains(at.count);
}

}  // namespace sluice::grammar
