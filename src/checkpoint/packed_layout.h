#pragma once

// The packed layout: valid safetensors in which every expert is one aligned record.
//
//  - The folder is a checkpoint like any other: config.json, *.safetensors, an index where there are several files.
//  - Trunk tensors keep their publisher's names and bytes. Where packing quantized one, X.weight became the MLX triple
//    X.weight, X.scales, X.biases, and config.json has the `quantization` dict that describes it.
//  - Per MoE layer N there is one tensor `sluice.layers.N.experts`, U8 [experts, record_bytes]. Its data starts at a
//    multiple of 4096 in the file and record_bytes is a multiple of 4096. A record is exactly the ExpertLayout that
//    make_expert_layout gives for the layer's formats; bytes between the parts are zero.
//  - `__metadata__` of every file that holds records has `sluice.packed` = "2" and, for each of its layers,
//    `sluice.layers.N.format` (JSON: the formats of gate, up and down; `tiled` where rows stand in tiles as in
//    tensor/row_tiles.h) and `sluice.layers.N.checksums` (XXH3-64 of each record, 16 lower-case hex digits each,
//    separated by one space, in order of the experts). Version "1" is the same without tiles.
//  - The records of a layer are never split across files.
//  - A folder may hold a share of the records: `sluice.packed` is then "3", `sluice.share` says which, such as "2/3"
//    (expert_share.h), and tensors and checksums of experts are those of the records that are there. The trunk is
//    whole. `sluice.source` and `sluice.options` say what was packed and how; shares of one model agree in both.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_share.h"
#include "checkpoint/published.h"

namespace sluice {

inline constexpr std::string_view kPackedVersionKey = "sluice.packed";
inline constexpr std::string_view kPackedVersion = "2";
inline constexpr std::string_view kPackedVersionBefore = "1";  // is read, too
inline constexpr std::string_view kPackedVersionShared = "3";
inline constexpr std::string_view kPackedShareKey = "sluice.share";
inline constexpr std::string_view kPackedSourceKey = "sluice.source";    // the source's fingerprint
inline constexpr std::string_view kPackedOptionsKey = "sluice.options";  // of packing
// JSON {tensor: codec} of the trunk's matrices that are kept in blocks: U8, the last dimension in bytes.
inline constexpr std::string_view kPackedBlocksKey = "sluice.blocks";

std::string packed_experts_name(int layer);   // "sluice.layers.3.experts"
std::string packed_format_key(int layer);     // "sluice.layers.3.format"
std::string packed_checksums_key(int layer);  // "sluice.layers.3.checksums"

// The layer's formats as JSON, and the layout that they make for these sizes. Reading throws kInvalidFile or
// kUnsupported; `where` names file and key.
std::string packed_format_text(const ExpertLayout& layout);
ExpertLayout read_packed_format(std::string_view text, int64_t hidden, int64_t intermediate, const std::string& where,
                                bool gated = true);

std::string packed_checksums_text(std::span<const uint64_t> checksums);
// Throws kInvalidFile unless there are exactly `count`.
std::vector<uint64_t> read_packed_checksums(std::string_view text, size_t count, const std::string& where);

// Gives tensors of one file, which are in blocks by the text of kPackedBlocksKey, codec and the shape of their values.
// Throws kInvalidFile or kUnsupported; `where` names file and key.
void apply_packed_blocks(std::string_view text, std::span<StoredTensor> tensors, const std::string& where);

using FileMetadata = std::map<std::string, std::string>;
// Empty where the key is not there.
std::string metadata_value(const FileMetadata& metadata, std::string_view key);
// Throws kUsage for what is no share.
ExpertShare packed_share(const FileMetadata& metadata);

// XXH3-64 of a record.
uint64_t record_checksum(std::span<const std::byte> record);

}  // namespace sluice
