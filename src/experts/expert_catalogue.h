#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
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
    std::function<bool(int layer, int expert)> held;  // empty: all; others hold the rest, which nobody asks for
    std::function<std::vector<ExpertRead>(int layer, int expert)> reads;
    std::vector<ExpertLayout> layouts;  // [layers], or empty where nobody asks: how a record stands in its slot
    // Of a layer whose experts are stored in another way: what makes a record of the bytes that were read, and the
    // memory that it needs beside them (nothing: there is nothing to be done).
    std::function<void(int layer, std::span<std::byte> slot, std::span<std::byte> scratch)> arrange;
    std::vector<std::optional<uint64_t>> arrangement_bytes;  // [layers], or empty: nothing
    // XXH3-64 of the whole record, where the checkpoint has one.
    std::function<std::optional<uint64_t>(int layer, int expert)> checksum;

    // `in_tiles` says which formats' matrices stand in tiles (tensor/row_tiles.h); empty: none.
    static ExpertCatalogue of(std::shared_ptr<const Checkpoint> checkpoint,
                              const std::function<bool(const WeightFormat&)>& in_tiles = {});

    // Of a layer, how many are held.
    int held_experts(int layer) const;
    // Records held of all layers together.
    uint64_t all_bytes() const;
    // experts_per_token records of every record size: what one token needs at once.
    uint64_t floor_bytes() const;
    // The most that an arrangement needs.
    uint64_t arrangement_scratch() const;
    // The distinct record sizes, ascending.
    std::vector<uint64_t> record_sizes() const;
};

}  // namespace sluice
