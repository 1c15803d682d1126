#include "engine/prefix_cache.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace sluice {

namespace {

// A state costs memory; fewer tokens than these are evaluated faster than it pays.
constexpr int64_t kBranchTokens = 64;

bool begins_with(std::span<const TokenId> tokens, std::span<const TokenId> prefix) {
    return prefix.size() <= tokens.size() && std::equal(prefix.begin(), prefix.end(), tokens.begin());
}

}  // namespace

PrefixCache::PrefixCache(const EngineInfo& info, uint64_t memory_bytes, const std::filesystem::path& folder,
                         uint64_t folder_bytes)
    : info_(info), memory_(memory_bytes) {
    if (!folder.empty()) folder_.emplace(folder, folder_bytes);
}

void PrefixCache::resume(std::span<const TokenId> prompt, SequenceState& state) {
    if (std::optional<SequenceState> known = memory_.find(prompt, state.position())) {
        state = std::move(*known);
    }
    common_in_folder_ = 0;
    if (!folder_) return;
    const std::vector<PrefixFolder::Entry> entries = folder_->find(prompt, info_);
    if (!entries.empty()) common_in_folder_ = entries[0].common;
    for (const PrefixFolder::Entry& entry : entries) {
        // After one that gives no more than is known: those behind it have less in common.
        if (load_entry(entry, prompt, state) != Load::kUnusable) return;
    }
}

PrefixCache::Load PrefixCache::load_entry(const PrefixFolder::Entry& entry, std::span<const TokenId> tokens,
                                          SequenceState& state) {
    try {
        // One token is left to evaluate.
        const int64_t reach = std::min(entry.common, static_cast<int64_t>(tokens.size()) - 1);
        if (reach <= state.position()) return Load::kShorter;
        if (state.recurrent() && reach < entry.tokens) return Load::kUnusable;
        const Snapshot snapshot = read_snapshot(entry.path, info_, state);
        // The entry may have been replaced since it was found.
        const std::span<const TokenId> seen = snapshot.tokens;
        const auto shared = static_cast<size_t>(reach);
        if (seen.size() < shared || !begins_with(tokens, seen.first(shared))) return Load::kUnusable;
        state.load(static_cast<int64_t>(snapshot.tokens.size()), snapshot.blocks);
        folder_->touch(entry);
        keep_in_memory(snapshot.tokens, state);
        if (state.position() > reach) state.truncate(reach);
        return Load::kDone;
    } catch (const Error& error) {
        log_debug("prefix cache: {}", error.what());
        if (error.code() == ErrorCode::kInvalidFile) folder_->remove(entry);
        return Load::kUnusable;
    }
}

std::vector<int64_t> PrefixCache::worth_keeping(std::span<const TokenId> prompt, const SequenceState& state,
                                                int64_t start, int64_t answer) const {
    if (!folder_ && memory_.limit_bytes() == 0) return {};
    const auto end = static_cast<int64_t>(prompt.size());
    if (!state.recurrent()) return {end};
    std::vector<int64_t> positions;
    const auto keep = [&](int64_t position, int64_t after) {
        if (position >= after && position < end) positions.push_back(position);
    };
    const int64_t parting = std::max(memory_.common_tokens(prompt), common_in_folder_);
    if (parting < end - 1) keep(parting, start + kBranchTokens);
    const int64_t last = positions.empty() ? start : positions.back();
    // Every position costs a pass, so one of the two is enough where they are near.
    if (answer > 0 && end - 1 - answer < kBranchTokens) {
        keep(answer, last + 1);
    } else {
        keep(answer, last + kBranchTokens);
        keep(end - 1, (positions.empty() ? start : positions.back()) + 1);
    }
    return positions;
}

void PrefixCache::keep_in_memory(std::span<const TokenId> tokens, const SequenceState& state) {
    memory_.put(tokens, state);
    memory_bytes_ = memory_.bytes();
}

void PrefixCache::put(const std::vector<TokenId>& tokens, const SequenceState& state) {
    try {
        keep_in_memory(tokens, state);
    } catch (const Error& error) {
        log_warning("prefix cache: {}; going on without this entry", error.what());
    }
}

void PrefixCache::write(const std::vector<TokenId>& tokens, const SequenceState& state) {
    if (!folder_) return;
    try {
        folder_->put(info_, tokens, state);
    } catch (const Error& error) {
        log_warning("prefix cache: {}; going on without this entry", error.what());
    }
}

bool PrefixCache::give_up_oldest() {
    const bool gave = memory_.drop_oldest();
    memory_bytes_ = memory_.bytes();
    return gave;
}

void PrefixCache::forget(std::span<const TokenId> prompt) {
    memory_.forget(prompt);
    memory_bytes_ = memory_.bytes();
    if (!folder_) return;
    for (const PrefixFolder::Entry& entry : folder_->find(prompt, info_)) folder_->remove(entry);
}

}  // namespace sluice
