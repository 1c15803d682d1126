#include "engine/prefix_folder.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace sluice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".prefix.safetensors";
// A file that is being written changes every moment: one this old was left by a process that died.
constexpr auto kAbandonedAfter = std::chrono::minutes(10);
constexpr size_t kBeginning = 64;  // tokens that are told by the name of an entry

std::string hash_hex(std::string_view text) {
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

// Entries of other models never match, nor those whose numbers other arithmetic made.
std::string model_key(const EngineInfo& info) {
    const std::string arithmetic = fmt::format("{} {} {}", info.kv_format, info.exact, info.device);
    return hash_hex(info.fingerprint + arithmetic).substr(0, 16);
}

std::string hash_of(std::span<const TokenId> tokens) {
    return hash_hex({reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()});
}

std::string hash_of_beginning(std::span<const TokenId> tokens) {
    return hash_of(tokens.first(std::min(tokens.size(), kBeginning))).substr(0, 16);
}

// "<model>-<beginning>-<tokens>-<hash of all>": which entries may serve a prompt can be told by their names.
std::string name_of(std::span<const TokenId> tokens, const EngineInfo& info) {
    return fmt::format("{}-{}-{}-{}{}", model_key(info), hash_of_beginning(tokens), tokens.size(), hash_of(tokens),
                       kExtension);
}

// How many tokens the entry `name` has seen, if its name starts with `start`.
std::optional<size_t> tokens_of(const std::string& name, const std::string& start) {
    if (!name.starts_with(start) || !name.ends_with(kExtension)) return std::nullopt;
    const char* begin = name.data() + start.size();
    size_t tokens = 0;
    const auto [end, error] = std::from_chars(begin, name.data() + name.size(), tokens);
    if (error != std::errc() || *end != '-') return std::nullopt;
    return tokens;
}

size_t common_tokens(std::span<const TokenId> prompt, const std::vector<TokenId>& tokens) {
    return static_cast<size_t>(std::ranges::mismatch(prompt, tokens).in1 - prompt.begin());
}

}  // namespace

PrefixFolder::PrefixFolder(fs::path folder, uint64_t limit_bytes)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes) {
    try {
        create_private_folders(folder_);
    } catch (const Error& error) {
        fail(ErrorCode::kIo, "`prefix_cache` {}: {}", folder_.string(), error.what());
    }
    evict(0);
}

std::vector<PrefixFolder::Entry> PrefixFolder::find(std::span<const TokenId> prompt, const EngineInfo& info) const {
    const std::string model = model_key(info) + "-";
    const std::string start = model + hash_of_beginning(prompt) + "-";
    std::vector<Entry> found;
    std::error_code error;
    for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
        const std::string name = it->path().filename().string();
        Entry entry{.path = it->path()};
        if (const auto tokens = tokens_of(name, start)) {
            entry.tokens = static_cast<int64_t>(*tokens);
            try {
                entry.common = static_cast<int64_t>(common_tokens(prompt, snapshot_token_ids(entry.path)));
            } catch (const Error& unusable) {
                if (unusable.code() == ErrorCode::kInvalidFile) remove(entry);
            }
        } else if (name.starts_with(model)) {
            // One of fewer tokens than make a beginning, which serves whole or not at all.
            const size_t dash = std::min(name.find('-', model.size()), name.size() - 1);
            const size_t size = tokens_of(name, name.substr(0, dash + 1)).value_or(0);
            if (size == 0 || size >= kBeginning || size > prompt.size()) continue;
            if (name != name_of(prompt.first(size), info)) continue;
            entry.tokens = entry.common = static_cast<int64_t>(size);
        }
        if (entry.common > 0) found.push_back(std::move(entry));
    }
    std::ranges::stable_sort(found, std::ranges::greater(), &Entry::common);
    return found;
}

void PrefixFolder::touch(const Entry& entry) const {
    std::error_code ignored;
    fs::last_write_time(entry.path, fs::file_time_type::clock::now(), ignored);
}

void PrefixFolder::remove(const Entry& entry) const {
    std::error_code ignored;
    fs::remove(entry.path, ignored);
}

void PrefixFolder::put(const EngineInfo& info, const std::vector<TokenId>& tokens, const SequenceState& state) const {
    constexpr uint64_t kHeaderBytes = 16 << 10;
    const uint64_t bytes = state.bytes() + tokens.size() * sizeof(TokenId) + kHeaderBytes;
    if (tokens.empty() || bytes > limit_bytes_) return;
    const fs::path path = folder_ / name_of(tokens, info);
    std::error_code error;
    if (fs::exists(path, error)) return touch({.path = path});
    evict(bytes);
    write_snapshot(path, info, tokens, state);
    evict(0);
}

// Removes the least recently used until `wanted_bytes` more are within the limit.
void PrefixFolder::evict(uint64_t wanted_bytes) const {
    struct Stored {
        fs::path path;
        fs::file_time_type used;
        uint64_t bytes;
    };
    std::vector<Stored> files;
    uint64_t total = wanted_bytes;
    std::error_code error;
    const fs::file_time_type now = fs::file_time_type::clock::now();
    for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
        const std::string name = it->path().filename().string();
        if (name.find(kExtension) == std::string::npos) continue;
        std::error_code vanished, ignored;
        const uint64_t bytes = it->file_size(vanished);
        if (vanished) continue;
        const fs::file_time_type used = it->last_write_time(vanished);
        if (vanished) continue;
        if (!name.ends_with(kExtension)) {
            if (now - used > kAbandonedAfter) fs::remove(it->path(), ignored);
            continue;
        }
        files.push_back({it->path(), used, bytes});
        total += bytes;
    }
    std::sort(files.begin(), files.end(), [](const Stored& a, const Stored& b) { return a.used < b.used; });
    for (const Stored& file : files) {
        if (total <= limit_bytes_) return;
        fs::remove(file.path, error);
        total -= file.bytes;
    }
}

}  // namespace sluice
