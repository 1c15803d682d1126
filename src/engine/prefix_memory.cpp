#include "engine/prefix_memory.h"

#include <algorithm>

namespace sluice {

namespace {

int64_t common_length(std::span<const TokenId> a, std::span<const TokenId> b) {
    return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

}  // namespace

std::optional<SequenceState> PrefixMemory::find(std::span<const TokenId> prompt, int64_t known) {
    const auto usable = static_cast<int64_t>(prompt.size()) - 1;
    auto best = entries_.end();
    int64_t longest = known;
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
        const int64_t common = std::min(common_length(prompt, entry->tokens), usable);
        const bool whole = common == static_cast<int64_t>(entry->tokens.size());
        if (common <= longest || (entry->state.recurrent() && !whole)) continue;
        longest = common;
        best = entry;
    }
    if (best == entries_.end()) return std::nullopt;
    entries_.splice(entries_.begin(), entries_, best);
    SequenceState state = best->state.fork();
    if (state.position() > longest) state.truncate(longest);
    return state;
}

int64_t PrefixMemory::common_tokens(std::span<const TokenId> prompt) const {
    int64_t longest = 0;
    for (const Entry& entry : entries_) longest = std::max(longest, common_length(prompt, entry.tokens));
    return longest;
}

void PrefixMemory::put(std::span<const TokenId> tokens, const SequenceState& state) {
    if (tokens.empty() || state.bytes() > limit_bytes_) return;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        const auto at = entry++;
        const auto common = static_cast<size_t>(common_length(tokens, at->tokens));
        if (common == tokens.size() && (common == at->tokens.size() || !state.recurrent())) {
            entries_.splice(entries_.begin(), entries_, at);
            return;  // this entry gives all that the new one would
        }
        if (common == at->tokens.size() && !state.recurrent()) drop(at);  // the new one gives all it did
    }
    entries_.push_front({{tokens.begin(), tokens.end()}, state.fork()});
    memory_.add(entries_.front().state);
    while (memory_.bytes() > limit_bytes_) drop_oldest();
}

void PrefixMemory::forget(std::span<const TokenId> prompt) {
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        const auto at = entry++;
        if (common_length(prompt, at->tokens) > 0) drop(at);
    }
}

bool PrefixMemory::drop_oldest() {
    if (entries_.empty()) return false;
    drop(std::prev(entries_.end()));
    return true;
}

void PrefixMemory::drop(Entries::iterator entry) {
    memory_.remove(entry->state);
    entries_.erase(entry);
}

}  // namespace sluice
