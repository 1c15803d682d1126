#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sluice/tokenizer.h"
#include "text/tokenizer_file.h"
#include "text/tokenizer_vocabulary.h"

namespace sluice {

class TokenizerField;

// The `model` of tokenizer.json: a word, in the characters of the vocabulary, to ids. Starts from one token a character
// and joins the neighbours of the strongest merge, leftmost first, until none applies. n characters take O(n log n).
// Immutable; many threads may use one, each with scratch of its own.
class BytePairEncoding {
  public:
    // Working memory of encode().
    struct Scratch {
        struct Symbol {
            TokenId id;
            uint32_t previous;
            uint32_t next;
        };
        struct Candidate {  // a merge that applied at `position` when it was found
            uint32_t rank;
            uint32_t position;
            TokenId result;
        };
        std::vector<Symbol> symbols;
        std::vector<Candidate> queue;
    };

    // Takes the vocabulary and the merges out of `file`. Throws kInvalidFile or kUnsupported.
    explicit BytePairEncoding(TokenizerFile& file);

    // Appends the ids of `word`, valid UTF-8. A character that is not in the vocabulary becomes its bytes or the
    // unknown token where the file provides for it, and nothing where it does not.
    void encode(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const;

    const TokenizerVocabulary& vocabulary() const { return vocabulary_; }

  private:
    // Merges by the pair they join: open addressing, a power of two of slots, at most half of them used.
    class MergeTable {
      public:
        struct Merge {
            uint32_t rank;
            TokenId result;
        };
        void reserve(size_t merges);
        void set(TokenId left, TokenId right, Merge merge);
        const Merge* find(TokenId left, TokenId right) const;

      private:
        struct Slot {
            uint64_t pair = UINT64_MAX;  // UINT64_MAX: empty
            Merge merge = {};
        };
        size_t slot_of(uint64_t pair) const;
        std::vector<Slot> slots_;
        unsigned shift_ = 0;
    };

    static constexpr TokenId kNone = -1;
    static constexpr uint32_t kNowhere = UINT32_MAX;

    void refuse_stripped_merges(const TokenizerField& document) const;
    TokenId character_id(std::string_view character, bool first, bool last) const;
    TokenId unknown_id() const;
    void split_characters(std::string_view word, std::vector<Scratch::Symbol>& symbols) const;
    TokenId fragment_of(std::string_view character) const;
    void add_fragment(TokenId id, std::vector<TokenId>& ids) const;
    bool add_bytes(std::string_view character, bool first, bool last, std::vector<Scratch::Symbol>& symbols) const;
    void merge_all(Scratch& scratch) const;
    void consider(Scratch& scratch, uint32_t position) const;

    std::string label_;
    TokenizerVocabulary vocabulary_;
    MergeTable merges_;
    std::array<TokenId, 0x400> common_characters_{};         // ids by code point; the byte alphabet lies in here
    std::unordered_map<std::string, TokenId> fragment_ids_;  // of TokenizerFile
    std::vector<std::string> fragments_;
    std::array<TokenId, 256> byte_tokens_{};  // "<0x00>" to "<0xFF>" where byte_fallback is set
    std::optional<std::string> unknown_;
    std::string prefix_;  // continuing_subword_prefix: of all characters of a word but the first
    std::string suffix_;  // end_of_word_suffix: of the last one
    bool fuse_unknown_ = false;
    bool byte_fallback_ = false;
    bool ignore_merges_ = false;  // a word that is in the vocabulary as it stands is one token
};

}  // namespace sluice
