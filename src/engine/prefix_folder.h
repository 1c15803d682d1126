#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/snapshot.h"

namespace sluice {

// Evaluated prompts kept on disk, keyed by their rendered text: snapshots in a folder, least recently used first out.
// Several processes may share the folder: entries appear by rename and vanish by unlink, and a vanished or damaged one
// is a miss. Thread-safe.
class PrefixFolder {
  public:
    // `limit_bytes` for all entries in `folder`, of any model. Throws kIo where the folder cannot be made.
    PrefixFolder(std::filesystem::path folder, uint64_t limit_bytes);

    // The longest cached text that `text` begins with, and its snapshot file.
    struct Entry {
        std::filesystem::path path;
        size_t text_bytes = 0;
    };
    std::optional<Entry> find(std::string_view text, const EngineInfo& info) const;
    // Marks an entry as just used, or removes one that proved unusable.
    void touch(const Entry& entry) const;
    void remove(const Entry& entry) const;

    // Keeps a snapshot of the state after `text`; then removes the least recently used beyond the limit, and what
    // processes that died while writing left. Throws kIo, and then leaves nothing behind.
    void put(std::string_view text, const EngineInfo& info, const std::vector<TokenId>& tokens,
             const SequenceState& state) const;

  private:
    std::filesystem::path path_of(std::string_view text, const EngineInfo& info) const;
    void evict() const;

    std::filesystem::path folder_;
    uint64_t limit_bytes_;
};

}  // namespace sluice
