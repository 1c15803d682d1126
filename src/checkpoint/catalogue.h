#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_sources.h"

namespace sluice {

// Everything that opening a checkpoint finds out, without a byte of tensor data: what Checkpoint answers from.
struct Catalogue {
    std::filesystem::path folder;
    ModelConfig config;
    std::vector<CheckpointFile> files;
    std::vector<WeightSource> sources;
    std::vector<int32_t> slots;          // index into sources by (layer + 1) * kRoleCount + role; -1: not there
    std::vector<ExpertSources> experts;  // per layer; empty ranges where the layer is dense
    std::vector<SkippedTensors> skipped;
    bool norms_are_offsets = false;  // the publisher's layout of qwen3_next and qwen3_5_moe: 1 is added
    std::string layout_name;
    std::string quantization_name;
    std::string fingerprint;
    uint64_t trunk_bytes = 0;
    uint64_t expert_bytes = 0;

    const WeightSource* find(int layer, Role role) const;
};

// Reads config.json and all headers. Throws as Checkpoint::open does.
Catalogue build_catalogue(const std::filesystem::path& folder);

}  // namespace sluice
