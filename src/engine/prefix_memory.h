#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "model/state_memory.h"
#include "sluice/tokenizer.h"

namespace sluice {

// Evaluated prompts kept in memory, least recently used first out. An entry shares cache pages with the session that
// made it and those that go on from it; whoever writes to a page copies it first. Entries are found by tokens, so a
// prompt that parts from an entry half-way has what they share: at once where every layer's state can be truncated,
// else from the next put() at that point on. One thread at a time.
class PrefixMemory {
  public:
    // `limit_bytes` of cache pages and recurrent state; 0 keeps nothing.
    explicit PrefixMemory(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

    // The state after the longest known beginning of `prompt` that leaves at least one token to evaluate. Nothing where
    // none is longer than `known` tokens.
    std::optional<SequenceState> find(std::span<const TokenId> prompt, int64_t known);
    // How many tokens `prompt` has in common with an entry at most, state there or not.
    int64_t common_tokens(std::span<const TokenId> prompt) const;
    // Keeps `state`, which has seen `tokens`, unless it alone is over the limit.
    void put(std::span<const TokenId> tokens, const SequenceState& state);

    // Drops every entry that begins as `prompt` does.
    void forget(std::span<const TokenId> prompt);

    // The entry that was wanted longest ago; false where there is none.
    bool drop_oldest();

    uint64_t bytes() const { return memory_.bytes(); }
    uint64_t limit_bytes() const { return limit_bytes_; }
    size_t entries() const { return entries_.size(); }

  private:
    struct Entry {
        std::vector<TokenId> tokens;
        SequenceState state;
    };
    using Entries = std::list<Entry>;  // most recently used first

    void drop(Entries::iterator entry);

    uint64_t limit_bytes_;
    Entries entries_;
    StateMemory memory_;
};

}  // namespace sluice
