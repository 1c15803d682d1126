#include "grammar/lexicon.h"

#include "grammar/determinize.h"
#include "grammar/pattern_parser.h"

namespace sluice::grammar {

namespace {

struct WordText {
    Word word;
    std::string_view pattern;
};

// kSpace stands for the white space between two tokens.
constexpr std::string_view kSpace = R"((?: |\n[ \t]{0,64})?)";
constexpr std::array kWords = {
    WordText{Word::kNull, "null"},      WordText{Word::kTrue, "true"},
    WordText{Word::kFalse, "false"},    WordText{Word::kOpenObject, "{_"},
    WordText{Word::kCloseObject, "_}"}, WordText{Word::kEndObject, "}"},
    WordText{Word::kOpenArray, "\\[_"}, WordText{Word::kCloseArray, "_\\]"},
    WordText{Word::kEndArray, "\\]"},   WordText{Word::kComma, ",_"},
    WordText{Word::kColon, ":_"},       WordText{Word::kLeadingSpace, R"([ \t\r\n]{0,4})"},
};

AutomatonPointer automaton_of(std::string_view pattern) {
    std::string text;
    for (const char c : pattern) {
        if (c == '_') {
            text += kSpace;
        } else {
            text.push_back(c);
        }
    }
    return std::make_shared<const CharAutomaton>(determinize(*parse_pattern(text), Match::kWhole));
}

AutomatonPointer shared(CharAutomaton automaton) {
    return std::make_shared<const CharAutomaton>(std::move(automaton));
}

std::string key_of(const NumberRules& rules) {
    std::string key = std::to_string(rules.multiple_of) + (rules.integer ? "i" : "n");
    for (const std::optional<NumberRules::Bound>& bound : {rules.min, rules.max}) {
        key += "|";
        if (!bound) continue;
        key += bound->exclusive ? "x" : "o";
        key += (bound->value.negative ? "-" : "") + bound->value.whole + "." + bound->value.fraction;
    }
    return key;
}

}  // namespace

CommonWords::CommonWords() {
    const auto set = [&](Word word, AutomatonPointer automaton, Spelling spelling) {
        words_[static_cast<size_t>(word)] = std::make_shared<const LexemeProfiles>(std::move(automaton), spelling);
    };
    for (const WordText& word : kWords) set(word.word, automaton_of(word.pattern), Spelling::kPlain);
    const ExpressionPointer text = repeat_of(chars_of(CharSet::all()), 0, kUnbounded);
    set(Word::kAnyString, shared(determinize(*text, Match::kWhole)), Spelling::kJsonString);
    set(Word::kInteger, shared(number_automaton({.integer = true})), Spelling::kPlain);
    set(Word::kNumber, shared(number_automaton({})), Spelling::kPlain);
    set(Word::kExponentNumber, shared(exponent_automaton()), Spelling::kPlain);
}

uint32_t Lexicon::add(const Profiles& profiles, LengthBounds length) {
    const auto [at, fresh] = added_.try_emplace({profiles.get(), length.min, length.max});
    if (fresh) at->second = builder_.add_lexeme(Lexeme(profiles->automaton(), profiles->spelling(), length), profiles);
    return at->second;
}

uint32_t Lexicon::word(Word word) {
    return add(common_[word], {});
}

uint32_t Lexicon::string(AutomatonPointer automaton, LengthBounds length) {
    if (automaton == nullptr) return add(common_[Word::kAnyString], length);
    Profiles& profiles = strings_[automaton.get()];
    if (profiles == nullptr) {
        profiles = std::make_shared<const LexemeProfiles>(std::move(automaton), Spelling::kJsonString);
    }
    return add(profiles, length);
}

uint32_t Lexicon::strings(const std::vector<std::u32string>& texts) {
    const auto [at, fresh] = literals_.try_emplace(texts);
    if (fresh) at->second = string(shared(literals(texts)), {});
    return at->second;
}

uint32_t Lexicon::number(const NumberRules& rules) {
    const auto [at, fresh] = numbers_.try_emplace(key_of(rules));
    if (!fresh) return at->second;
    if (!rules.min && !rules.max && rules.multiple_of == 1) {
        at->second = word(rules.integer ? Word::kInteger : Word::kNumber);
    } else {
        at->second = plain(shared(number_automaton(rules)));
    }
    return at->second;
}

uint32_t Lexicon::plain(AutomatonPointer automaton, LengthBounds length) {
    return add(std::make_shared<const LexemeProfiles>(std::move(automaton), Spelling::kPlain), length);
}

}  // namespace sluice::grammar
