#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/kv_format.h"

namespace sluice {

inline constexpr int64_t kKvPageTokens = 256;  // tokens of a page of every cache

// One thing that a layer keeps per sequence: a cache that grows by so many bytes a token, or F32 values of a fixed
// shape.
struct StatePart {
    std::string name;  // in snapshots
    KvFormat format = KvFormat::kF32;
    uint64_t bytes_per_token = 0;  // of a cache; 0 for a fixed shape
    int64_t rows = 0, columns = 0;

    static StatePart cache(std::string name, KvFormat format, uint64_t bytes_per_token) {
        return {.name = std::move(name), .format = format, .bytes_per_token = bytes_per_token};
    }
    static StatePart fixed(std::string name, int64_t rows, int64_t columns) {
        return {.name = std::move(name), .rows = rows, .columns = columns};
    }

    bool grows() const { return bytes_per_token > 0; }
    uint64_t page_bytes() const { return bytes_per_token * static_cast<uint64_t>(kKvPageTokens); }
    uint64_t fixed_bytes() const { return static_cast<uint64_t>(rows * columns) * sizeof(float); }
};

// What every layer keeps, in the order that its mixer counts them in.
using StateParts = std::vector<std::vector<StatePart>>;

}  // namespace sluice
