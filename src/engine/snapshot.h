#pragma once

#include <filesystem>
#include <vector>

#include "model/sequence_state.h"
#include "sluice/engine.h"

namespace sluice {

// A session on disk: one safetensors file. Tensors: `token_ids` I32 [n], then every block of SequenceState::save() as
// U8. Metadata: `sluice.snapshot` (format version), `fingerprint`, `kv_format`, `exact`, `device` (with its kernels),
// `checksum` (XXH3-64 over ids and blocks).
struct Snapshot {
    std::vector<TokenId> tokens;
    std::vector<SequenceState::Block> blocks;
};

// Written under a temporary name, flushed and renamed. Throws kIo.
void write_snapshot(const std::filesystem::path& path, const EngineInfo& info, const std::vector<TokenId>& tokens,
                    const SequenceState& state);
// The tokens that a snapshot has seen, without a look at the rest of it. Throws as read_snapshot.
std::vector<TokenId> snapshot_token_ids(const std::filesystem::path& path);
// Checks version, model, KV format, sizes and checksum against a state of the same model; for an exact engine also that
// an exact one made it. Other kernels are a warning. Throws kInvalidFile or kContextFull with the reason.
Snapshot read_snapshot(const std::filesystem::path& path, const EngineInfo& info, const SequenceState& state);

}  // namespace sluice
