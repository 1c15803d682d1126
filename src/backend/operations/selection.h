#pragma once

// Operations of sparse attention: which tokens a query sees is chosen by scores over a second cache. See
// backend/operations.h.

#include <cstdint>

#include "backend/operations/attention.h"
#include "backend/operations/fields.h"
#include "backend/operations/recurrent.h"
#include "backend/tensor.h"

namespace sluice {

// In place of a token where fewer are chosen than there is room for.
inline constexpr int32_t kNoToken = -1;

// What a backend of the host takes at most, beside a row's own: for scores, and for the tokens that are attended to.
inline constexpr int64_t kSelectionScoreBytes = int64_t{16} << 20, kSelectionGatherBytes = int64_t{32} << 20;

// Stores rows of new tokens in a cache of rows of kv_row_bytes(format, width), one for each run of `ratio` tokens from
// the sequence's first on: that of the run's last token. Run r of a page is row r; a page holds whole runs.
struct AppendRows {
    static constexpr const char* kName = "AppendRows";
    Tensor rows;  // [T, width]
    int64_t ratio = 1;
    Sequences sequences;
    PagedCache cache;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("rows", op.rows, Access::kRead);
        field("ratio", op.ratio);
        field("sequences", op.sequences);
        field("cache", op.cache);
    }
};

// The tokens that each row's attention sees, its own and earlier ones: those of the largest score = sum over heads of
// weights_h * max(0, query_h . key), the keys being the cache's rows (ties: the earlier token); all where there is room
// for them. In ascending order, then kNoToken. DeepSeek-V3.2's lightning indexer.
// With a `ratio` a key stands for a run of so many tokens that is complete at the row. Chosen are runs, and their
// numbers are the result; `as_tokens` it is their tokens, and all those behind the last complete run.
struct SelectTokens {
    static constexpr const char* kName = "SelectTokens";
    Tensor query;         // [T, heads * width]
    Tensor weights = {};  // [T, heads], or empty: all are 1
    int64_t heads = 0;    // where there are no weights
    int64_t ratio = 1;
    bool as_tokens = true;
    Sequences sequences;
    PagedCache cache;  // of AppendRows, the new tokens included
    Tensor out;        // I32 [T, most_runs()], as tokens [T, most_runs() * ratio + ratio - 1]

    int64_t head_count() const { return weights.buffer == nullptr ? heads : weights.columns; }
    int64_t width() const { return query.columns / head_count(); }
    int64_t most_runs() const { return as_tokens ? (out.columns - ratio + 1) / ratio : out.columns; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("weights", op.weights, Access::kRead);
        field("heads", op.heads);
        field("ratio", op.ratio);
        field("as_tokens", op.as_tokens);
        field("sequences", op.sequences);
        field("cache", op.cache);
        field("out", op.out, Access::kWritten);
    }
};

// Attention whose keys are its values, too, one head of them for all heads of queries: those of the last tokens, the
// row's own included, and rows of a cache for runs of tokens that are complete at the row. One softmax over all of them
// and the sink. DeepSeek-V4.
struct SharedKeyAttention {
    static constexpr const char* kName = "SharedKeyAttention";
    Tensor query;  // [T, heads * width]
    int64_t heads = 0;
    float scale = 0;
    Tensor keys;        // [T, width], of the new tokens
    Tensor sinks = {};  // [1, heads], or empty: none
    int64_t ratio = 0;  // of the cache; 0: there is none
    Tensor runs = {};   // I32 [T, *]: numbers of the runs that a row sees, ascending, then kNoToken; empty: all
    Sequences sequences;
    StateSlots states;      // [window, width]: the key of the token at position p in row p % window
    PagedCache cache = {};  // of AppendRows
    Tensor out;             // [T, heads * width]

    int64_t window() const { return states.rows; }
    int64_t width() const { return keys.columns; }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("heads", op.heads);
        field("scale", op.scale);
        field("keys", op.keys, Access::kRead);
        field("sinks", op.sinks, Access::kRead);
        field("ratio", op.ratio);
        field("runs", op.runs, Access::kRead);
        field("sequences", op.sequences);
        field("states", op.states);
        field("cache", op.cache);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
