#pragma once

// Operations of sparse attention: which tokens a query sees is chosen by scores over a second cache. See
// backend/operations.h.

#include <cstdint>

#include "backend/operations/attention.h"
#include "backend/operations/fields.h"
#include "backend/tensor.h"

namespace sluice {

// In place of a token where fewer are chosen than there is room for.
inline constexpr int32_t kNoToken = -1;

// What a backend of the host takes at most, beside a row's own: for scores, and for the tokens that are attended to.
inline constexpr int64_t kSelectionScoreBytes = int64_t{16} << 20, kSelectionGatherBytes = int64_t{32} << 20;

// Stores a row of each new token in a cache of rows of kv_row_bytes(format, width), token t of a page being row t.
struct AppendRows {
    static constexpr const char* kName = "AppendRows";
    Tensor rows;  // [T, width]
    Sequences sequences;
    PagedCache cache;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("rows", op.rows, Access::kRead);
        field("sequences", op.sequences);
        field("cache", op.cache);
    }
};

// The tokens that each row's attention sees, its own and earlier ones: those of the largest score = sum over heads of
// weights_h * max(0, query_h . key), the keys being the cache's rows (ties: the earlier token); all where there is room
// for them. In ascending order, then kNoToken. DeepSeek-V3.2's lightning indexer.
struct SelectTokens {
    static constexpr const char* kName = "SelectTokens";
    Tensor query;    // [T, heads * width]
    Tensor weights;  // [T, heads]
    Sequences sequences;
    PagedCache cache;  // of AppendRows, the new tokens included
    Tensor out;        // I32 [T, most tokens]

    int64_t width() const { return query.columns / weights.columns; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("sequences", op.sequences);
        field("cache", op.cache);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
