#include "engine/prefix_folder.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/error.h"

namespace sluice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".prefix.safetensors";
// A file that is being written changes every moment: one this old was left by a process that died.
constexpr auto kAbandonedAfter = std::chrono::minutes(10);

std::string hash_hex(std::string_view text) {
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

// Entries of other models never match, nor those whose numbers other arithmetic made.
std::string model_key(const EngineInfo& info) {
    const std::string arithmetic = fmt::format("{} {} {}", info.kv_format, info.exact, info.device);
    return hash_hex(info.fingerprint + arithmetic).substr(0, 16);
}

// The text length in an entry's name "<model>-<length>-<hash>", if it is one of `model`'s.
std::optional<size_t> text_length(const std::string& name, const std::string& model) {
    if (!name.starts_with(model + "-") || !name.ends_with(kExtension)) return std::nullopt;
    const char* begin = name.data() + model.size() + 1;
    size_t length = 0;
    const auto [end, error] = std::from_chars(begin, name.data() + name.size(), length);
    if (error != std::errc() || *end != '-') return std::nullopt;
    return length;
}

}  // namespace

PrefixFolder::PrefixFolder(fs::path folder, uint64_t limit_bytes)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes) {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) fail(ErrorCode::kIo, "`prefix_cache` {}: {}", folder_.string(), error.message());
}

fs::path PrefixFolder::path_of(std::string_view text, const EngineInfo& info) const {
    return folder_ / fmt::format("{}-{}-{}{}", model_key(info), text.size(), hash_hex(text), kExtension);
}

std::optional<PrefixFolder::Entry> PrefixFolder::find(std::string_view text, const EngineInfo& info) const {
    const std::string model = model_key(info);
    std::vector<size_t> lengths;
    std::error_code error;
    for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
        const auto length = text_length(it->path().filename().string(), model);
        if (length && *length <= text.size()) lengths.push_back(*length);
    }
    std::sort(lengths.rbegin(), lengths.rend());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    for (const size_t length : lengths) {
        fs::path path = path_of(text.substr(0, length), info);
        if (fs::exists(path, error)) return Entry{std::move(path), length};
    }
    return std::nullopt;
}

void PrefixFolder::touch(const Entry& entry) const {
    std::error_code ignored;
    fs::last_write_time(entry.path, fs::file_time_type::clock::now(), ignored);
}

void PrefixFolder::remove(const Entry& entry) const {
    std::error_code ignored;
    fs::remove(entry.path, ignored);
}

void PrefixFolder::put(std::string_view text, const EngineInfo& info, const std::vector<TokenId>& tokens,
                       const SequenceState& state) const {
    if (state.bytes() > limit_bytes_) return;
    const fs::path path = path_of(text, info);
    std::error_code error;
    if (fs::exists(path, error)) return touch({path, text.size()});
    write_snapshot(path, info, tokens, state);
    evict();
}

void PrefixFolder::evict() const {
    struct File {
        fs::path path;
        fs::file_time_type used;
        uint64_t bytes;
    };
    std::vector<File> files;
    uint64_t total = 0;
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
    std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.used < b.used; });
    for (const File& file : files) {
        if (total <= limit_bytes_) return;
        fs::remove(file.path, error);
        total -= file.bytes;
    }
}

}  // namespace sluice
