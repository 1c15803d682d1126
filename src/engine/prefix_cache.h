#pragma once

#include <atomic>
#include <optional>
#include <span>

#include "engine/prefix_folder.h"
#include "engine/prefix_memory.h"

namespace sluice {

// Evaluated prompts of one model, so that a prompt that begins as an earlier one did is not evaluated again: in memory
// for the sessions of this process, in a folder for later ones and for others. With the model's lock where nothing else
// is said.
class PrefixCache {
  public:
    // No folder where `folder` is empty.
    PrefixCache(const EngineInfo& info, uint64_t memory_bytes, const std::filesystem::path& folder,
                uint64_t folder_bytes);

    // Brings `state` to the longest known beginning of the prompt that leaves at least one token to evaluate. Nothing
    // changes where none is longer than what `state` holds already.
    void resume(std::span<const TokenId> prompt, SequenceState& state);
    // Positions beyond `start` at which a state is worth a put() while the prompt is evaluated, ascending: its end
    // last, and before it where the prompt parts from an earlier one. States that can be truncated need the end alone;
    // recurrent ones must stop before `answer`, where what makes the model answer begins: the next turn of a
    // conversation may have something else in its place. Where that is far from the end (or 0: nowhere), also a token
    // before the end, for the same prompt to find one to evaluate.
    std::vector<int64_t> worth_keeping(std::span<const TokenId> prompt, const SequenceState& state, int64_t start,
                                       int64_t answer) const;
    // Keeps a state that has seen exactly `tokens`, in memory or in the folder, if there is one. What cannot be kept
    // costs the entry, not the request.
    void put(const std::vector<TokenId>& tokens, const SequenceState& state);
    void write(const std::vector<TokenId>& tokens, const SequenceState& state);
    // Drops what this prompt may have begun with: it led to nothing.
    void forget(std::span<const TokenId> prompt);
    // Gives up what is in memory and was wanted longest ago; false where nothing is.
    bool give_up_oldest();
    bool has_folder() const { return folder_.has_value(); }

    uint64_t memory_bytes() const { return memory_bytes_; }  // without a lock

  private:
    enum class Load { kDone, kUnusable, kShorter };
    Load load_entry(const PrefixFolder::Entry& entry, std::span<const TokenId> tokens, SequenceState& state);

    void keep_in_memory(std::span<const TokenId> tokens, const SequenceState& state);

    const EngineInfo& info_;
    PrefixMemory memory_;
    std::atomic<uint64_t> memory_bytes_ = 0;
    std::optional<PrefixFolder> folder_;
    int64_t common_in_folder_ = 0;  // tokens that the prompt of the last resume() shares with an entry at most
};

}  // namespace sluice
