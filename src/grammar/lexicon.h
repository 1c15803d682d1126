#pragma once

// The lexemes of one program, each once.

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <tuple>

#include "grammar/number_automaton.h"
#include "grammar/program.h"

namespace sluice::grammar {

// Words that most grammars over JSON have. White space between tokens is one space, or one line break with its indent.
enum class Word : size_t {
    kNull,
    kTrue,
    kFalse,
    kOpenObject,   // the brace and white space
    kCloseObject,  // white space and the brace
    kEndObject,    // the brace alone, right after the opening one
    kOpenArray,
    kCloseArray,
    kEndArray,
    kComma,  // and white space
    kColon,
    kLeadingSpace,  // up to four characters, before an answer that comes after something else
    kAnyString,
    kInteger,
    kNumber,
    kExponentNumber,
    kCount,
};

// Their automata, with what was found about a vocabulary's tokens: shared by all grammars over it.
class CommonWords {
  public:
    CommonWords();
    const std::shared_ptr<const LexemeProfiles>& operator[](Word word) const {
        return words_[static_cast<size_t>(word)];
    }

  private:
    std::array<std::shared_ptr<const LexemeProfiles>, static_cast<size_t>(Word::kCount)> words_;
};

class Lexicon {
  public:
    Lexicon(ProgramBuilder& builder, const CommonWords& common) : builder_(builder), common_(common) {}

    uint32_t word(Word word);
    // Strings of JSON; null: with any text.
    uint32_t string(AutomatonPointer automaton, LengthBounds length);
    // One of these strings of JSON.
    uint32_t strings(const std::vector<std::u32string>& texts);
    uint32_t number(const NumberRules& rules);
    // Text that is spelled as it stands.
    uint32_t plain(AutomatonPointer automaton, LengthBounds length = {});
    const CommonWords& common() const { return common_; }

  private:
    using Profiles = std::shared_ptr<const LexemeProfiles>;
    uint32_t add(const Profiles& profiles, LengthBounds length);

    ProgramBuilder& builder_;
    const CommonWords& common_;
    std::map<std::tuple<const LexemeProfiles*, uint32_t, uint32_t>, uint32_t> added_;
    std::map<const CharAutomaton*, Profiles> strings_;
    std::map<std::vector<std::u32string>, uint32_t> literals_;
    std::map<std::string, uint32_t> numbers_;
};

}  // namespace sluice::grammar
