#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_sources.h"
#include "checkpoint/row_table_source.h"

namespace sluice {

// Everything that opening a checkpoint finds out, without a byte of tensor data: what Checkpoint answers from.
struct Catalogue {
    std::filesystem::path folder;
    std::string config_label;  // the file that says the config, for messages
    std::string config_text;   // as config.json has it
    ModelConfig config;
    std::vector<CheckpointFile> files;
    std::vector<TrunkWeight> trunk;
    std::map<std::pair<int, Role>, size_t> places;  // in trunk, by layer and role
    std::vector<ExpertSources> experts;             // per layer; empty ranges where the layer is dense
    std::map<int, RowTableSource> row_tables;       // by layer
    std::vector<SkippedTensors> skipped;
    bool norms_are_offsets = false;  // as these files store them: 1 is added to each
    std::string layout_name;
    std::string quantization_name;
    std::string fingerprint;
    std::string origin;
    ExpertShare share;
    uint64_t trunk_bytes = 0;
    uint64_t expert_bytes = 0;

    const TrunkWeight* find(int layer, Role role) const;
};

// Throws as Checkpoint::open does.
Catalogue build_catalogue(Published published);

}  // namespace sluice
