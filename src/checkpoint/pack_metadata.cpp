#include "checkpoint/pack_metadata.h"

#include <fmt/core.h>

#include <charconv>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/packed_layout.h"
#include "tensor/codec.h"

// The streaming state is opaque in the library's header without this.
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace sluice {

namespace {

std::string checksums_text(const std::map<std::string, uint64_t>& checksums) {
    nlohmann::json json = nlohmann::json::object();
    for (const auto& [name, checksum] : checksums) json[name] = fmt::format("{:016x}", checksum);
    return json.dump();
}

}  // namespace

PackSource make_pack_source(const Checkpoint& checkpoint, const PackOptions& options, const ExpertShare& share) {
    std::string text = "--quantize " + options.quantize;
    if (options.quantize != "none") text += fmt::format(" --group-size {}", options.group_size);
    return {checkpoint.folder().string(), checkpoint.fingerprint(), text, share};
}

PackSource read_pack_source(const std::map<std::string, std::string>& metadata) {
    return {"", metadata_value(metadata, kPackedSourceKey), metadata_value(metadata, kPackedOptionsKey),
            packed_share(metadata)};
}

std::map<std::string, std::string> declared_metadata(const PackShard& shard, const PackSource& source,
                                                     const std::string& format) {
    std::map<std::string, std::string> metadata = {{"format", format},
                                                   {std::string(kPackedVersionKey), std::string(kPackedVersion)},
                                                   {std::string(kPackedSourceKey), source.fingerprint},
                                                   {std::string(kPackedOptionsKey), source.options}};
    if (!source.share.whole()) {
        metadata[std::string(kPackedVersionKey)] = std::string(kPackedVersionShared);
        metadata[std::string(kPackedShareKey)] = source.share.text();
    }
    for (const PackLayer& layer : shard.layers) {
        metadata[packed_format_key(layer.layer)] = packed_format_text(layer.target);
        metadata[packed_checksums_key(layer.layer)] =
            packed_checksums_text(std::vector<uint64_t>(layer.experts.size()));
    }
    std::map<std::string, uint64_t> trunk;
    nlohmann::json blocks = nlohmann::json::object();
    for (const PackTrunk& unit : shard.trunk) {
        if (unit.blocks != nullptr) blocks[unit.declarations.front().name] = unit.blocks->name;
        for (const auto& declaration : unit.declarations) trunk[declaration.name] = 0;
    }
    if (!blocks.empty()) metadata[std::string(kPackedBlocksKey)] = blocks.dump();
    if (!trunk.empty()) metadata[std::string(kTrunkChecksumsKey)] = checksums_text(trunk);
    return metadata;
}

struct TrunkChecksums::State {
    State() { XXH3_64bits_reset(&state); }
    XXH3_state_t state;
};

TrunkChecksums::TrunkChecksums() = default;
TrunkChecksums::~TrunkChecksums() = default;

void TrunkChecksums::update(const std::string& tensor, std::span<const std::byte> bytes) {
    std::unique_ptr<State>& state = states_[tensor];
    if (state == nullptr) state = std::make_unique<State>();
    XXH3_64bits_update(&state->state, bytes.data(), bytes.size());
}

std::map<std::string, uint64_t> TrunkChecksums::values() const {
    std::map<std::string, uint64_t> checksums;
    for (const auto& [name, state] : states_) checksums[name] = XXH3_64bits_digest(&state->state);
    return checksums;
}

std::string TrunkChecksums::text() const {
    return checksums_text(values());
}

std::map<std::string, uint64_t> TrunkChecksums::parse(std::string_view text, const std::string& where) {
    const nlohmann::json json = parse_json(text, where);
    if (!json.is_object()) fail(ErrorCode::kInvalidFile, "{}: {} is not a JSON object", where, kTrunkChecksumsKey);
    std::map<std::string, uint64_t> checksums;
    for (const auto& [name, value] : json.items()) {
        const std::string digits = value.is_string() ? value.get<std::string>() : "";
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), checksums[name], 16);
        if (error != std::errc() || digits.size() != 16 || end != digits.data() + digits.size()) {
            fail(ErrorCode::kInvalidFile, "{}: {}: {} has no checksum", where, kTrunkChecksumsKey, name);
        }
    }
    return checksums;
}

}  // namespace sluice
