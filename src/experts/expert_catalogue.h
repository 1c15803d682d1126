#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace sluice {

// All that the expert store needs to know of a model: where its experts lie. A value; its functions may be called from
// many threads.
struct ExpertCatalogue {
    std::vector<std::filesystem::path> files;
    std::vector<uint64_t> record_bytes;  // [layers]; a multiple of 4096, 0 for a layer without experts
    int experts = 0;                     // of every layer that has any
    int experts_per_token = 0;
    std::function<std::vector<ExpertRead>(int layer, int expert)> reads;
    // XXH3-64 of the whole record, where the checkpoint has one.
    std::function<std::optional<uint64_t>(int layer, int expert)> checksum;

    static ExpertCatalogue of(std::shared_ptr<const Checkpoint> checkpoint);

    // Records of all layers together.
    uint64_t all_bytes() const;
    // experts_per_token records of every record size: what one token needs at once.
    uint64_t floor_bytes() const;
    // The distinct record sizes, ascending.
    std::vector<uint64_t> record_sizes() const;
};

}  // namespace sluice
