#pragma once

// Which tokens may come at a place inside a lexeme, as far as the lexeme decides it.

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/lexeme.h"
#include "grammar/vocabulary.h"

namespace sluice::grammar {

// Tokens as a list, or as bits where they are many.
class TokenSet {
  public:
    void add(TokenId id) { list_.push_back(id); }
    // After the last add.
    void pack(size_t vocabulary);
    void add_to(std::span<uint64_t> words) const;
    bool empty() const { return list_.empty() && words_.empty(); }
    size_t bytes() const { return list_.capacity() * sizeof(TokenId) + words_.capacity() * sizeof(uint64_t); }

  private:
    std::vector<TokenId> list_;
    std::vector<uint64_t> words_;
};

// For an automaton, a spelling and a place in them; whatever the bounds on the length are and however long the text is
// already, so that one walk over the vocabulary serves all of these.
struct LexemeProfile {
    // Tokens inside the lexeme, or that end just where it may end.
    struct Group {
        std::vector<uint32_t> targets = {};  // states, one of which must be able to go on; none: the string has closed
        uint32_t count = 0;                  // characters that the tokens add, with the one that has begun
        TokenSet tokens = {};
    };
    // Nodes of the tree, with children, at which the lexeme may end.
    struct Exit {
        uint32_t node = 0;
        uint32_t count = 0;
    };
    std::vector<Group> groups;
    std::vector<Exit> exits;
    uint32_t most_exit_characters = 0;
};

// The profiles of one automaton, made as they are asked for. Any number of threads.
class LexemeProfiles {
  public:
    LexemeProfiles(AutomatonPointer automaton, Spelling spelling)
        : automaton_(std::move(automaton)), spelling_(spelling) {}

    const AutomatonPointer& automaton() const { return automaton_; }
    Spelling spelling() const { return spelling_; }
    // `counted`: characters are counted, else all of one kind are in one group.
    std::shared_ptr<const LexemeProfile> find(const Vocabulary& vocabulary, const LexemeState& at, bool counted) const;

  private:
    struct Key {
        uint32_t state;
        uint32_t partial;
        bool counted;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        size_t operator()(const Key& key) const {
            return std::hash<uint64_t>()((uint64_t{key.state} << 33) ^ (uint64_t{key.partial} << 1) ^ key.counted);
        }
    };

    AutomatonPointer automaton_;
    Spelling spelling_;
    mutable std::mutex mutex_;
    mutable std::unordered_map<Key, std::shared_ptr<const LexemeProfile>, Hash> profiles_;
    mutable size_t bytes_ = 0;
};

}  // namespace sluice::grammar
