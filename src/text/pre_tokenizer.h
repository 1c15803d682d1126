#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/tokenizer.h"
#include "text/pattern.h"

namespace sluice {

class TokenizerField;

// A text cut into words, in order, with added tokens found between them. The words lie end to end in one string.
struct WordList {
    static constexpr TokenId kWord = -1;
    struct Item {
        size_t end;     // in `text`; the item begins where the one before ends
        TokenId token;  // kWord, or an added token, which has no text
    };
    std::string text;
    std::vector<Item> items;
    bool whole = true;  // nothing was dropped before the first item: it begins where the text does

    void add_word(std::string_view word);  // an empty one is dropped
    void add_token(TokenId token) { items.push_back({text.size(), token}); }
    void clear();
};

// `pre_tokenizer` of tokenizer.json: cuts text into the words that BPE sees. Immutable; many threads may use one, each
// with scratch of its own.
class PreTokenizer {
  public:
    PreTokenizer() = default;  // leaves words whole
    // Throws kUnsupported, naming it, for a type that is not known.
    static PreTokenizer parse(const TokenizerField& field);

    void apply(WordList& words, PatternScratch& scratch) const;

  private:
    enum class Prefix { kNever, kFirst, kAlways };  // kFirst: of the text's first word
    enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
    struct Step {
        std::optional<Pattern> pattern = {};    // what to cut at: a pattern,
        bool (*character)(char32_t) = nullptr;  // or a class of characters, each a match of its own
        Behavior behavior = Behavior::kIsolated;
        bool invert = false;  // matched and unmatched trade places
        Prefix prefix = Prefix::kNever;
        std::string prefix_text = " ";  // put before words that do not begin with it
        std::string space = {};         // Metaspace: takes the place of every space, before all else
        bool to_bytes = false;          // afterwards each byte becomes its character of the byte alphabet
    };

    void add(const TokenizerField& field);
    static Step split_step(const TokenizerField& field);
    static Step byte_level_step(const TokenizerField& field);
    static Step metaspace_step(const TokenizerField& field);
    static Behavior behavior(const TokenizerField& field);
    static std::string_view prepared(const Step& step, std::string_view word, bool first, std::string& rewritten);
    static void apply_step(const Step& step, const WordList& in, PatternScratch& scratch, WordList& out);
    static void cut(const Step& step, std::string_view word, PatternScratch& scratch, std::vector<TextSpan>& spans);

    std::vector<Step> steps_;
};

}  // namespace sluice
