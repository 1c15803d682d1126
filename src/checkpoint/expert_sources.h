#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/expert_arrangement.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/expert_share.h"
#include "checkpoint/weight_resolver.h"

namespace sluice {

// The tensors that hold the experts of one layer, in whichever of the four forms.
struct ExpertTensors {
    std::array<ModuleTensors, 3> stacks;             // by Projection: [experts, rows, columns]
    ModuleTensors gate_up;                           // [experts, 2 * rows, columns]
    std::vector<std::array<ModuleTensors, 3>> each;  // per expert
    int64_t packed = kNoTensor;
};

// Where the experts of one layer lie on disk and how they lie in memory.
struct ExpertSources {
    ExpertLayout layout;
    bool packed = false;
    ExpertForm form;
    std::string module;  // "model.layers.3.mlp.experts", for messages
    // Per expert: one record, or nine parts (data, scales and zero points of gate, up and down). Those of gate are
    // gate's and up's together where they are not stored as a record holds them.
    // Of a record that another folder holds no bytes.
    std::vector<ByteRange> ranges;
    std::vector<uint64_t> checksums;  // packed only; per expert
    ExpertShare share;

    size_t ranges_per_expert() const { return packed ? 1 : 9; }
};

// Resolves the experts of `layer`; `path` is its module path ("model.layers.3."). Throws as WeightResolver does, and
// for a layer that has experts in none of the forms or in more than one.
ExpertSources resolve_experts(WeightResolver& resolver, const ExpertTensors& tensors, const ModelConfig& config,
                              int layer, const std::string& path);

// One contiguous read per run of parts that follow each other both in the file and in the slot. Then arrange_expert()
// makes a record of the slot.
std::vector<ExpertRead> expert_reads_of(const ExpertSources& sources, int expert);

}  // namespace sluice
