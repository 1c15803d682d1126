#include "engine/snapshot.h"

#include <xxhash.h>

#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/safetensors.h"

namespace sluice {

namespace {

constexpr const char* kVersion = "1";
constexpr uint64_t kSnapshotAlignment = 8;  // bytes, of the data

std::string checksum(std::span<const TokenId> tokens, const std::vector<SequenceState::Block>& blocks) {
    const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state(XXH3_createState(), XXH3_freeState);
    XXH3_64bits_reset(state.get());
    XXH3_64bits_update(state.get(), tokens.data(), tokens.size_bytes());
    for (const SequenceState::Block& block : blocks) {
        XXH3_64bits_update(state.get(), block.bytes.data(), block.bytes.size());
    }
    return fmt::format("{:016x}", XXH3_64bits_digest(state.get()));
}

const std::string& field(const SafetensorsReader& file, const std::filesystem::path& path, const std::string& name) {
    const auto& metadata = file.header().metadata;
    const auto at = metadata.find(name);
    if (at == metadata.end()) {
        fail(ErrorCode::kInvalidFile, "{}: not a Sluice snapshot: the metadata has no {}", path.string(), name);
    }
    return at->second;
}

void expect(const SafetensorsReader& file, const std::filesystem::path& path, const std::string& name,
            const std::string& want, const char* what) {
    const std::string& got = field(file, path, name);
    if (got != want) {
        fail(ErrorCode::kInvalidFile, "{}: a snapshot of another {}: {} is {}, this one needs {}", path.string(), what,
             name, got, want);
    }
}

}  // namespace

void write_snapshot(const std::filesystem::path& path, const EngineInfo& info, const std::vector<TokenId>& tokens,
                    const SequenceState& state) {
    const std::vector<SequenceState::Block> blocks = state.save();
    std::vector<SafetensorsWriter::Declaration> declarations;
    declarations.push_back({"token_ids", DType::kI32, {static_cast<int64_t>(tokens.size())}});
    for (const auto& block : blocks) {
        declarations.push_back({block.name, DType::kU8, {static_cast<int64_t>(block.bytes.size())}});
    }
    SafetensorsWriter writer(path, declarations,
                             {{"sluice.snapshot", kVersion},
                              {"fingerprint", info.fingerprint},
                              {"kv_format", info.kv_format},
                              {"exact", info.exact ? "true" : "false"},
                              {"device", info.device},
                              {"checksum", checksum(tokens, blocks)}},
                             kSnapshotAlignment, Privacy::kPrivate);
    writer.write("token_ids", std::as_bytes(std::span(tokens)));
    for (const auto& block : blocks) writer.write(block.name, block.bytes);
    writer.commit();
}

std::vector<TokenId> snapshot_token_ids(const std::filesystem::path& path) {
    const SafetensorsReader file = SafetensorsReader::open(path);
    if (!file.has("token_ids") || file.entry("token_ids").shape.size() != 1) {
        fail(ErrorCode::kInvalidFile, "{}: not a Sluice snapshot: no list of token_ids", path.string());
    }
    const std::vector<int64_t> ids = file.integers("token_ids");
    return {ids.begin(), ids.end()};
}

Snapshot read_snapshot(const std::filesystem::path& path, const EngineInfo& info, const SequenceState& state) {
    const SafetensorsReader file = SafetensorsReader::open(path);
    expect(file, path, "sluice.snapshot", kVersion, "format version");
    expect(file, path, "fingerprint", info.fingerprint, "model");
    expect(file, path, "kv_format", info.kv_format, "KV format");
    if (info.exact) expect(file, path, "exact", "true", "arithmetic");
    if (const std::string& made_by = field(file, path, "device"); made_by != info.device) {
        log_warning("{}: a snapshot made by {}, of which {} differs in the last bits", path.string(), made_by,
                    info.device);
    }
    Snapshot snapshot;
    for (const int64_t id : file.integers("token_ids")) {
        if (id < 0 || id >= info.vocabulary) {
            fail(ErrorCode::kInvalidFile, "{}: token_ids holds {}, outside the vocabulary of {}", path.string(), id,
                 info.vocabulary);
        }
        snapshot.tokens.push_back(static_cast<TokenId>(id));
    }
    const auto position = static_cast<int64_t>(snapshot.tokens.size());
    if (position > info.context) {
        fail(ErrorCode::kContextFull, "{}: {} tokens do not fit the context of {}; give a larger `context`",
             path.string(), position, info.context);
    }
    for (const auto& [name, bytes] : state.block_sizes(position)) {
        if (!file.has(name) || file.bytes(name).size() != bytes) {
            fail(ErrorCode::kInvalidFile, "{}: {} should hold {} bytes for {} tokens", path.string(), name, bytes,
                 position);
        }
        const auto data = file.bytes(name);
        snapshot.blocks.push_back({name, std::vector<std::byte>(data.begin(), data.end())});
    }
    if (checksum(snapshot.tokens, snapshot.blocks) != field(file, path, "checksum")) {
        fail(ErrorCode::kInvalidFile, "{}: the checksum does not match: the file is damaged", path.string());
    }
    return snapshot;
}

}  // namespace sluice
