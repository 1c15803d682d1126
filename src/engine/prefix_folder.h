#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "engine/snapshot.h"

namespace sluice {

// Evaluated prompts kept on disk, keyed by their tokens: snapshots in a folder, least recently used first out. Several
// processes may share the folder: entries appear by rename and vanish by unlink, and a vanished or damaged one is a
// miss. The folder and the entries are for the user alone. Thread-safe.
class PrefixFolder {
  public:
    // `limit_bytes` for all entries in `folder`, of any model; what is over it goes at once. Throws kIo where the
    // folder cannot be made.
    PrefixFolder(std::filesystem::path folder, uint64_t limit_bytes);

    struct Entry {
        std::filesystem::path path;
        int64_t tokens = 0;  // that it has seen
        int64_t common = 0;  // of these, how many `prompt` begins with
    };
    // The entries that share their beginning with `prompt`, the longest in common first. Whole entries count at any
    // length, others from 64 tokens on: below that, evaluating costs less than looking.
    std::vector<Entry> find(std::span<const TokenId> prompt, const EngineInfo& info) const;
    // Marks an entry as just used, or removes one that proved unusable.
    void touch(const Entry& entry) const;
    void remove(const Entry& entry) const;

    // Keeps a snapshot of the state after `tokens`; the least recently used make room for it, and what processes that
    // died while writing left goes. Throws kIo, and then leaves nothing behind.
    void put(const EngineInfo& info, const std::vector<TokenId>& tokens, const SequenceState& state) const;

  private:
    void evict(uint64_t wanted_bytes) const;

    std::filesystem::path folder_;
    uint64_t limit_bytes_;
};

}  // namespace sluice
