#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/kv_format.h"

namespace sluice {

inline constexpr int64_t kKvPageTokens = 256;  // tokens of a page of every cache

// One thing that a layer keeps per sequence: a cache that grows by a row for every token or every run of tokens, or F32
// values of a fixed shape.
struct StatePart {
    std::string name;  // in snapshots
    KvFormat format = KvFormat::kF32;
    uint64_t row_bytes = 0;      // of a cache; 0 for a fixed shape
    int64_t tokens_per_row = 1;  // divides kKvPageTokens
    int64_t rows = 0, columns = 0;

    static StatePart cache(std::string name, KvFormat format, uint64_t row_bytes, int64_t tokens_per_row = 1) {
        return {.name = std::move(name), .format = format, .row_bytes = row_bytes, .tokens_per_row = tokens_per_row};
    }
    static StatePart fixed(std::string name, int64_t rows, int64_t columns) {
        return {.name = std::move(name), .rows = rows, .columns = columns};
    }

    bool grows() const { return row_bytes > 0; }
    uint64_t page_bytes() const { return row_bytes * static_cast<uint64_t>(kKvPageTokens / tokens_per_row); }
    uint64_t fixed_bytes() const { return static_cast<uint64_t>(rows * columns) * sizeof(float); }
};

// What every layer keeps, in the order that its mixer counts them in.
using StateParts = std::vector<std::vector<StatePart>>;

// Of the caches of all layers, for a token; a byte of a page's tokens that is begun counts.
inline uint64_t cache_bytes_per_token(const StateParts& parts) {
    uint64_t page = 0;
    for (const std::vector<StatePart>& layer : parts) {
        for (const StatePart& part : layer) page += part.page_bytes();
    }
    return (page + kKvPageTokens - 1) / kKvPageTokens;
}

}  // namespace sluice
