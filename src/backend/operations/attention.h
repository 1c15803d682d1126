#pragma once

// Operations on the cache of keys and values: grouped-query attention and multi-head latent attention. See
// backend/operations.h.

#include <algorithm>
#include <cstdint>

#include "backend/operations/fields.h"
#include "backend/tensor.h"
#include "tensor/kv_format.h"

namespace sluice {

// The sequences of a batch, in a backend's memory: a step is the same operations over the same places whatever is
// there. Host backends check what the tensors hold when they run, others need not.
struct Sequences {
    // I32 [S, 3]: first row in the batch, rows, and position of the first; rows follow each other and are all of the
    // batch's.
    Tensor rows;
    // What no sequence has more of, so that work can be divided without a look at the tensor: new rows, and tokens with
    // them.
    int64_t most_rows = 0, most_tokens = 0;

    static void fields(auto& op, auto&& field) {
        field("rows", op.rows, Access::kRead);
        field("most_rows", op.most_rows);
        field("most_tokens", op.most_tokens);
    }
};

// The caches of one attention layer of all sequences of a batch, in pages of `page_tokens` tokens: page p lies p *
// page_bytes into the pool, and the tokens of sequence s from i * page_tokens on are in page pages[s, i].
// Grouped attention, rows of kv_row_bytes(format, head_dim): key of (kv head h, token t) is row h * page_tokens + t of
// a page, its value is row (kv_heads + h) * page_tokens + t.
// MLA, rows of kv_row_bytes(format, kv_lora) then kv_row_bytes(format, rope): token t of a page has its latent row at t
// * (latent row bytes + rope row bytes), the rotary key row right after it.
struct PagedCache {
    KvFormat format = KvFormat::kF32;
    int64_t page_tokens = 0;
    BufferPtr pool;
    uint64_t page_bytes = 0;
    Tensor pages;  // I32 [S, *]; numbers of pages that no token is in mean nothing

    static void fields(auto& op, auto&& field) {
        field("format", op.format);
        field("page_tokens", op.page_tokens);
        field("pool", op.pool);
        field("page_bytes", op.page_bytes);
        field("pages", op.pages, Access::kRead);
    }
};

// Stores keys and values of the new tokens in the cache. Heads of values may be of another width.
struct AppendKeyValue {
    static constexpr const char* kName = "AppendKeyValue";
    Tensor keys;    // [T, kv_heads * head_dim]
    Tensor values;  // [T, kv_heads * value_dim]
    int64_t kv_heads = 0;
    Sequences sequences;
    PagedCache cache;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("keys", op.keys, Access::kRead);
        field("values", op.values, Access::kRead);
        field("kv_heads", op.kv_heads);
        field("sequences", op.sequences);
        field("cache", op.cache);
    }
};

// Causal grouped-query attention over the cache, which holds the new tokens already. Query head h reads kv head h /
// (heads / kv_heads). With a window a token sees that many, itself included, with a chunk those
// of its own run of so many positions. A sink is a logit per query head that
// takes part in the softmax, as it is, and has no value.
struct Attention {
    static constexpr const char* kName = "Attention";
    Tensor query;  // [T, heads * head_dim]
    int64_t heads = 0;
    int64_t kv_heads = 0;
    float scale = 0;
    int64_t window = 0, chunk = 0;  // 0: all
    Tensor sinks = {};              // [1, heads], or empty: none
    // I32 [T, *]: the tokens that each row sees, ascending, none later than its own, then kNoToken; empty: all.
    Tensor selected = {};
    Sequences sequences;
    PagedCache cache;
    Tensor out;  // [T, heads * value_dim]

    // Of the tokens up to `token` the first that it sees.
    int64_t first_seen(int64_t token) const {
        const int64_t of_window = window == 0 ? 0 : std::max<int64_t>(0, token + 1 - window);
        return chunk == 0 ? of_window : std::max(of_window, token / chunk * chunk);
    }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("heads", op.heads);
        field("kv_heads", op.kv_heads);
        field("scale", op.scale);
        field("window", op.window);
        field("chunk", op.chunk);
        field("sinks", op.sinks, Access::kRead);
        field("selected", op.selected, Access::kRead);
        field("sequences", op.sequences);
        field("cache", op.cache);
        field("out", op.out, Access::kWritten);
    }
};

// Stores latents and rotary keys of the new tokens in the cache.
struct AppendLatent {
    static constexpr const char* kName = "AppendLatent";
    Tensor latent;      // [T, kv_lora]
    Tensor rotary_key;  // [T, rope], or empty: keys have no part that is rotated
    Sequences sequences;
    PagedCache cache;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("latent", op.latent, Access::kRead);
        field("rotary_key", op.rotary_key, Access::kRead);
        field("sequences", op.sequences);
        field("cache", op.cache);
    }
};

// Multi-head latent attention over the cache, which holds the new tokens already; causal. Per head: score_t = (q_nope .
// (W_K latent_t) + q_rope . rotary_key_t) * scale; out = sum over t of softmax(score)_t * (W_V latent_t). In which form
// that is computed (keys and values expanded, or the query folded and the values projected afterwards) and how the
// cache is cut is the backend's affair.
struct LatentAttention {
    static constexpr const char* kName = "LatentAttention";
    Tensor query;  // [T, heads * (nope + rope)], rotary applied
    // `transposed`: both are kv_b_proj, [heads * (nope + value), kv_lora], of a head first the rows of W_K, then those
    // of W_V. Otherwise key is embed_q, W_K^T of the heads, [heads * kv_lora, nope], value_weight is unembed_out,
    // [heads * value, kv_lora].
    Weight key, value_weight;
    bool transposed = true;
    int64_t heads = 0, nope = 0, rope = 0, value = 0;  // rope may be 0
    float scale = 0;
    Sequences sequences;
    PagedCache cache;
    // I32 [T, *]: the tokens that each row sees, ascending, none later than its own, then kNoToken; empty: all.
    Tensor selected = {};
    Tensor scratch;  // [T, scratch_columns()]: for the backend's use, what it holds afterwards means nothing
    Tensor out;      // [T, heads * value]

    int64_t kv_lora() const { return transposed ? key.columns : key.rows / heads; }
    static int64_t scratch_columns(int64_t heads, int64_t kv_lora) { return heads * (2 * kv_lora + 2); }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("key", op.key, Access::kRead);
        field("value_weight", op.value_weight, Access::kRead);
        field("transposed", op.transposed);
        field("heads", op.heads);
        field("nope", op.nope);
        field("rope", op.rope);
        field("value", op.value);
        field("scale", op.scale);
        field("sequences", op.sequences);
        field("cache", op.cache);
        field("selected", op.selected, Access::kRead);
        field("scratch", op.scratch, Access::kWritten);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
