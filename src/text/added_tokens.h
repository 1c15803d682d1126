#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_vocabulary.h"
#include "text/trusted_ranges.h"

namespace sluice {

struct AddedToken {
    std::string content;
    TokenId id = 0;
    bool special = false;
    bool normalized = false;   // looked for in the normalized text, and normalized itself
    bool single_word = false;  // only where no word character touches it
    bool lstrip = false;       // takes the white space before it along
    bool rstrip = false;       // and after it
    bool blank = false;        // white space and no special token: of no meaning but its text
};

// Added tokens of tokenizer.json and of tokenizer_config.json beside it: they are cut out of the text before anything
// else sees it. Many threads may use one that is prepared, each with scratch of its own.
class AddedTokens {
  public:
    // `vocabulary` is the model's: a token may be in both, with the same id.
    explicit AddedTokens(const TokenizerVocabulary& vocabulary) : vocabulary_(&vocabulary) {}

    // Those of `added_tokens`. Of a token that is given again the later flags count. Throws kInvalidFile.
    void add_listed(const TokenizerField& list);
    // Those of tokenizer_config.json, as transformers adds them when it opens a tokenizer: `added_tokens_decoder`, and
    // the special tokens that it names and the vocabulary has. Throws kInvalidFile.
    void add_configured(const TokenizerField& config);
    // To be called once, after the last token.
    void prepare(const Normalizer& normalizer);

    // Cuts valid UTF-8 `text` at the tokens that are matched as they stand, normalizes what lies between, and cuts that
    // at the normalized ones. What remains are words of `words`. Tokens are found where all of their text is trusted,
    // blank ones everywhere.
    void split(std::string_view text, const TrustedRanges& trusted, const Normalizer& normalizer,
               PatternScratch& scratch, WordList& words) const;

    const AddedToken* find(TokenId id) const;
    const AddedToken* find(std::string_view content) const;
    TokenId id_limit() const { return id_limit_; }  // largest id + 1; 0 where there are none

  private:
    // Finds the longest of a set of strings at a place, in one walk over its bytes.
    class Trie {
      public:
        void insert(std::string_view key, size_t value);
        // The longest key that text[at..] begins with and accept(value, length) takes: its value and length; length 0
        // where there is none.
        template <typename Accept>
        std::pair<size_t, size_t> longest(std::string_view text, size_t at, Accept accept) const;
        bool empty() const { return nodes_.size() == 1; }
        bool may_begin(char byte) const { return begins_[static_cast<uint8_t>(byte)]; }

      private:
        static constexpr size_t kNoValue = SIZE_MAX;
        struct Node {
            size_t value = kNoValue;
            std::vector<std::pair<char, size_t>> children;  // sorted by byte
        };
        std::vector<Node> nodes_ = std::vector<Node>(1);
        std::array<bool, 256> begins_{};  // first bytes of keys
    };
    struct Cut {
        size_t begin;
        size_t end;
        TokenId token;  // WordList::kWord: the text between tokens
    };

    static AddedToken parse_one(const TokenizerField& field, const TokenizerField& id_field, int64_t id);
    void check_listed(const TokenizerField& field, const AddedToken& token) const;
    TokenId configured_id(const AddedToken& token) const;
    void put(AddedToken token);
    std::vector<Cut> cuts(std::string_view text, const TrustedRanges& trusted, const Trie& trie) const;
    struct Piece;
    Piece normalized_piece(std::string_view text, const TrustedRanges& trusted, const Normalizer& normalizer,
                           PatternScratch& scratch) const;

    const TokenizerVocabulary* vocabulary_;
    std::vector<AddedToken> tokens_;
    std::unordered_map<TokenId, size_t> by_id_;
    std::unordered_map<std::string, size_t> by_content_;
    Trie raw_;
    Trie normalized_;
    TokenId id_limit_ = 0;
};

}  // namespace sluice
