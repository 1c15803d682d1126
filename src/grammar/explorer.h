#pragma once

// Follows a program byte by byte, in all ways that it can be read at once.

#include <compare>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "grammar/program.h"
#include "grammar/vocabulary.h"

namespace sluice::grammar {

// What is to be come back to, as the number of a stack of an explorer. 0: nothing.
using StackId = uint32_t;

// One way in which the text so far can be read: inside a lexeme, or before a token.
struct Position {
    NodeId node = 0;
    StackId stack = 0;
    LexemeState at = {};

    bool operator==(const Position&) const = default;
};

// All ways.
struct Places {
    std::vector<Position> positions = {};
    bool complete = false;  // the text is whole

    bool dead() const { return positions.empty() && !complete; }
};

// Keeps the stacks that were met, where each leads, and the masks that were computed. Its members lock; the numbers of
// stacks mean something to the explorer that gave them out alone.
class Explorer {
  public:
    Explorer(std::shared_ptr<const Program> program, std::shared_ptr<const Vocabulary> vocabulary);

    Places start(NodeId entry);
    // Places where nothing leads on are dead.
    Places step(const Places& from, std::string_view bytes);
    Places step_token(const Places& from, TokenId token);
    // Adds the tokens that may come next.
    void allow(const Places& places, std::span<uint64_t> words);
    // The same places in the numbers of `to`.
    Places move_to(Explorer& to, const Places& places);
    size_t bytes() const;  // of memory, about

  private:
    struct Frame {
        StackId below = 0;
        NodeId node = 0;     // where a rule returns to, or what is repeated
        uint32_t count = 0;  // how often it was
        bool operator==(const Frame&) const = default;
    };
    struct FrameHash {
        size_t operator()(const Frame& frame) const;
    };
    // What the tokens are that leave a lexeme: the place in it, how many characters it may still take, what follows.
    struct ExitKey {
        uint32_t lexeme;
        uint32_t state;
        uint32_t partial;
        uint32_t least;
        uint32_t most;
        uint32_t continuation;
        bool operator==(const ExitKey&) const = default;
    };
    struct ExitHash {
        size_t operator()(const ExitKey& key) const;
    };
    class Closure;

    StackId push(const Frame& frame);
    uint32_t continuation(NodeId node, StackId stack);
    void step_byte(const Places& from, uint8_t byte, Places& to);
    void add_lexeme_tokens(const Position& position, std::span<uint64_t> words);
    const TokenSet& exit_tokens(const Position& position, const LexemeProfile& profile);
    void collect_exits(const LexemeProfile& profile, const ExitKey& key, TokenSet& tokens);

    std::shared_ptr<const Program> program_;
    std::shared_ptr<const Vocabulary> vocabulary_;
    mutable std::mutex mutex_;
    std::vector<Frame> frames_;
    std::unordered_map<Frame, StackId, FrameHash> stacks_;
    std::vector<std::unique_ptr<const Places>> continuations_;
    std::unordered_map<uint64_t, uint32_t> continuation_numbers_;
    std::unordered_map<ExitKey, TokenSet, ExitHash> exits_;
    std::vector<Places> path_;  // scratch
    size_t bytes_ = 0;
};

}  // namespace sluice::grammar
