#pragma once

// What packing will write, decided before the first byte is.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_share.h"
#include "checkpoint/safetensors.h"
#include "sluice/pack.h"

namespace sluice {

// The experts of one MoE layer, which become the records of one tensor.
struct PackLayer {
    int layer = 0;
    ExpertLayout source, target;
    bool encode = false;           // false: the same formats, bytes are moved
    std::vector<int64_t> experts;  // whose records they are, ascending

    uint64_t bytes() const { return experts.size() * target.record_bytes; }
};

// A tensor of the trunk: moved as it is, or a matrix that becomes X.weight, X.scales and X.biases.
struct PackTrunk {
    std::string module;  // name of the weight tensor without ".weight"
    WeightSource source;
    std::optional<WeightFormat> target;  // nothing: moved
    std::vector<SafetensorsWriter::Declaration> declarations;
    std::vector<ByteRange> moved;   // of each declaration; empty where encoded
    const Codec* blocks = nullptr;  // of the first declaration where it is moved in blocks of a codec
};

// One file. Records come first, so that every one of them is aligned.
struct PackShard {
    std::string file;
    std::vector<PackLayer> layers;
    std::vector<PackTrunk> trunk;
    uint64_t bytes = 0;  // of all tensors

    std::vector<SafetensorsWriter::Declaration> declarations() const;
};

struct PackPlan {
    std::vector<PackShard> shards;
    uint64_t bytes = 0;
    uint64_t records = 0;
    ExpertShare share;
    std::optional<WeightFormat> quantized;                         // nothing: as published
    std::map<std::string, std::optional<WeightFormat>> overrides;  // of modules; nothing: left as it is
    std::string summary;                                           // "affine 4-bit, group 64 (96 gates at 8 bits)"
};

// A file's tensors together, unless the records of one layer are more.
inline constexpr uint64_t kPackShardBytes = 4ull << 30;

// Throws kUsage for options that do not exist, kNotFound for a source that holds a share of its experts, kUnsupported
// for a source that is quantized already.
PackPlan make_pack_plan(const Checkpoint& checkpoint, const PackOptions& options,
                        uint64_t shard_bytes = kPackShardBytes);

// The bytes of a declared tensor.
uint64_t declared_bytes(const SafetensorsWriter::Declaration& declaration);

}  // namespace sluice
