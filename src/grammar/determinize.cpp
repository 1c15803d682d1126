#include "grammar/determinize.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"

namespace sluice::grammar {

namespace {

constexpr size_t kNfaStates = 200'000;
// States of the expression that the states of the automaton stand for, all together: bounds time and memory.
constexpr size_t kSubsetSizes = 1'000'000;

[[noreturn]] void refuse_size() {
    fail(ErrorCode::kUsage, "needs more than {} states", kAutomatonStates);
}

enum class Assertion : uint8_t { kNone, kBegin, kEnd };

struct NfaState {
    CharSet chars = {};  // leads to `target`, where not empty
    uint32_t target = 0;
    std::vector<std::pair<Assertion, uint32_t>> empty_moves = {};
};

// Thompson's construction, from the end to the begin: each part is told what comes after it.
class Nfa {
  public:
    explicit Nfa(const Expression& expression) {
        states_.resize(2);  // the final one and the mark of the begin, which nothing leads to
        start_ = build(expression, kFinal);
    }

    uint32_t start() const { return start_; }
    bool has_begin() const { return has_begin_; }
    static constexpr uint32_t kFinal = 0;
    static constexpr uint32_t kAtBegin = 1;
    const NfaState& operator[](uint32_t state) const { return states_[state]; }
    size_t size() const { return states_.size(); }

  private:
    uint32_t add(NfaState state) {
        if (states_.size() >= kNfaStates) refuse_size();
        states_.push_back(std::move(state));
        return static_cast<uint32_t>(states_.size() - 1);
    }

    uint32_t build(const Expression& e, uint32_t next) {
        switch (e.kind) {
            case Expression::Kind::kChars:
                return add({.chars = e.chars, .target = next});
            case Expression::Kind::kBegin:
                has_begin_ = true;
                return add({.empty_moves = {{Assertion::kBegin, next}}});
            case Expression::Kind::kEnd:
                return add({.empty_moves = {{Assertion::kEnd, next}}});
            case Expression::Kind::kSequence:
                for (size_t i = e.parts.size(); i-- > 0;) next = build(*e.parts[i], next);
                return next;
            case Expression::Kind::kAlternatives: {
                NfaState state;
                for (const ExpressionPointer& part : e.parts) {
                    state.empty_moves.emplace_back(Assertion::kNone, build(*part, next));
                }
                return add(std::move(state));
            }
            case Expression::Kind::kRepeat:
                return build_repeat(e, next);
            case Expression::Kind::kRule:
            case Expression::Kind::kToken:
                break;
        }
        fail(ErrorCode::kUsage, "is no regular expression");
    }

    uint32_t build_repeat(const Expression& e, uint32_t next) {
        const Expression& part = *e.parts.front();
        if (e.max == kUnbounded) {
            const uint32_t loop = add({.empty_moves = {{Assertion::kNone, next}}});
            const uint32_t body = build(part, loop);
            states_[loop].empty_moves.emplace_back(Assertion::kNone, body);
            next = loop;
        } else {
            const uint32_t after = next;
            for (uint32_t i = e.min; i < e.max; ++i) {
                const uint32_t body = build(part, next);
                next = add({.empty_moves = {{Assertion::kNone, body}, {Assertion::kNone, after}}});
            }
        }
        for (uint32_t i = 0; i < e.min; ++i) next = build(part, next);
        return next;
    }

    std::vector<NfaState> states_;
    uint32_t start_ = 0;
    bool has_begin_ = false;
};

// The states that matter of a closure: those with characters, with an assertion of the end, and the final one.
using Subset = std::vector<uint32_t>;

class SubsetConstruction {
  public:
    SubsetConstruction(const Nfa& nfa, Match match) : nfa_(nfa), match_(match), seen_(nfa.size()) {}

    CharAutomaton run() {
        number(closure({nfa_.start()}, true));
        for (size_t i = 0; i < subsets_.size(); ++i) {
            const Subset subset = *subsets_[i];
            const bool matched = std::ranges::binary_search(subset, Nfa::kFinal);
            if (matched && match_ == Match::kAnywhere) {
                // Whatever follows, the match is there.
                for (const CharRange& r : all_.ranges()) {
                    states_[i].transitions.push_back({r.low, r.high, static_cast<uint32_t>(i)});
                }
                states_[i].accepting = true;
            } else {
                states_[i].accepting = matched || reaches_final_at_end(subset);
                add_transitions(i, subset);
            }
        }
        return CharAutomaton(states_);
    }

  private:
    Subset closure(const std::vector<uint32_t>& from, bool at_begin) {
        Subset result;
        std::vector<uint32_t> pending = from;
        ++mark_;
        if (match_ == Match::kAnywhere) pending.push_back(nfa_.start());
        while (!pending.empty()) {
            const uint32_t s = pending.back();
            pending.pop_back();
            if (seen_[s] == mark_) continue;
            seen_[s] = mark_;
            const NfaState& state = nfa_[s];
            bool matters = s == Nfa::kFinal || !state.chars.empty();
            for (const auto& [assertion, target] : state.empty_moves) {
                if (assertion == Assertion::kNone || (assertion == Assertion::kBegin && at_begin)) {
                    pending.push_back(target);
                }
                matters = matters || assertion == Assertion::kEnd;
            }
            if (matters) result.push_back(s);
        }
        if (at_begin && nfa_.has_begin()) result.push_back(Nfa::kAtBegin);
        std::ranges::sort(result);
        return result;
    }

    bool reaches_final_at_end(const Subset& subset) const {
        const bool at_begin = std::ranges::binary_search(subset, Nfa::kAtBegin);
        std::set<uint32_t> reached(subset.begin(), subset.end());
        std::vector<uint32_t> pending(subset.begin(), subset.end());
        while (!pending.empty()) {
            const uint32_t s = pending.back();
            pending.pop_back();
            for (const auto& [assertion, target] : nfa_[s].empty_moves) {
                if (assertion == Assertion::kBegin && !at_begin) continue;
                if (reached.insert(target).second) pending.push_back(target);
            }
        }
        return reached.contains(Nfa::kFinal);
    }

    void add_transitions(size_t from, const Subset& subset) {
        // Where characters begin and cease to lead to a state.
        std::map<char32_t, std::vector<std::pair<uint32_t, bool>>> borders;
        for (const uint32_t s : subset) {
            for (const CharRange& r : nfa_[s].chars.ranges()) {
                borders[r.low].emplace_back(nfa_[s].target, true);
                borders[r.high + 1].emplace_back(nfa_[s].target, false);
            }
        }
        // Any other character begins the search anew.
        if (match_ == Match::kAnywhere) {
            for (const CharRange& r : all_.ranges()) borders[r.low], borders[r.high + 1];
        }
        std::map<uint32_t, int> active;
        for (auto at = borders.begin(); at != borders.end(); ++at) {
            for (const auto& [target, begins] : at->second) {
                if (begins) {
                    ++active[target];
                } else if (--active[target] == 0) {
                    active.erase(target);
                }
            }
            const auto after = std::next(at);
            if (after == borders.end()) break;
            if (active.empty() && (match_ == Match::kWhole || at->first == 0xD800)) continue;
            std::vector<uint32_t> targets;
            for (const auto& [target, count] : active) targets.push_back(target);
            const uint32_t to = number(closure(targets, false));
            states_[from].transitions.push_back({at->first, after->first - 1, to});
        }
    }

    uint32_t number(Subset subset) {
        const auto [at, fresh] = numbers_.try_emplace(std::move(subset), static_cast<uint32_t>(subsets_.size()));
        if (fresh) push(at->first);
        return at->second;
    }

    void push(const Subset& subset) {
        sizes_ += subset.size();
        if (subsets_.size() >= kAutomatonStates || sizes_ > kSubsetSizes) refuse_size();
        subsets_.push_back(&subset);
        states_.emplace_back();
    }

    const Nfa& nfa_;
    Match match_;
    const CharSet all_ = CharSet::all();
    std::vector<uint32_t> seen_;
    uint32_t mark_ = 0;
    std::map<Subset, uint32_t> numbers_;
    std::vector<const Subset*> subsets_;  // keys of the map
    std::vector<CharAutomaton::State> states_;
    size_t sizes_ = 0;
};

}  // namespace

CharAutomaton determinize(const Expression& expression, Match match) {
    const Nfa nfa(expression);
    return SubsetConstruction(nfa, match).run();
}

}  // namespace sluice::grammar
