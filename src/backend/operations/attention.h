#pragma once

// Operations on the cache of keys and values: grouped-query attention and multi-head latent attention. See
// backend/operations.h.

#include <cstdint>
#include <vector>

#include "backend/operations/fields.h"
#include "backend/tensor.h"
#include "tensor/kv_format.h"

namespace sluice {

// The rows of one sequence in a batch: rows [first_row, first_row + count), at positions position, position + 1, ...
struct SequenceRows {
    int64_t first_row = 0;
    int64_t count = 0;
    int64_t position = 0;

    static void fields(auto& op, auto&& field) {
        field("first_row", op.first_row);
        field("count", op.count);
        field("position", op.position);
    }
};

// The cache of one attention layer of one sequence: pages of `page_tokens` tokens, allocated as used. Grouped
// attention, rows of kv_row_bytes(format, head_dim): key of (kv head h, token t) is row h * page_tokens + t of a page,
// its value is row (kv_heads + h) * page_tokens + t.
// MLA, rows of kv_row_bytes(format, kv_lora) then kv_row_bytes(format, rope): token t of a page has its latent row at t
// * (latent row bytes + rope row bytes), the rotary key row right after it.
struct KvPages {
    KvFormat format = KvFormat::kF32;
    int64_t page_tokens = 0;
    std::vector<BufferPtr> pages;

    static void fields(auto& op, auto&& field) {
        field("format", op.format);
        field("page_tokens", op.page_tokens);
        field("pages", op.pages);
    }
};

struct KvSegment {
    SequenceRows rows;
    KvPages cache;  // pages for positions up to rows.position + rows.count

    static void fields(auto& op, auto&& field) {
        field("rows", op.rows);
        field("cache", op.cache);
    }
};

// Stores keys and values of the new tokens in the cache.
struct AppendKeyValue {
    static constexpr const char* kName = "AppendKeyValue";
    Tensor keys;    // [T, kv_heads * head_dim]
    Tensor values;  // [T, kv_heads * head_dim]
    int64_t kv_heads = 0;
    std::vector<KvSegment> segments;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("keys", op.keys, Access::kRead);
        field("values", op.values, Access::kRead);
        field("kv_heads", op.kv_heads);
        field("segments", op.segments, Access::kUpdated);
    }
};

// Causal grouped-query attention over the cache, which holds the new tokens already. Query head h reads kv head h /
// (heads / kv_heads).
struct Attention {
    static constexpr const char* kName = "Attention";
    Tensor query;  // [T, heads * head_dim]
    int64_t heads = 0;
    int64_t kv_heads = 0;
    float scale = 0;
    std::vector<KvSegment> segments;
    Tensor out;  // [T, heads * head_dim]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("heads", op.heads);
        field("kv_heads", op.kv_heads);
        field("scale", op.scale);
        field("segments", op.segments, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// The parts of MLA's fused key and value projection, as views: every operation takes rows with a stride, so that
// nothing is copied and no backend has work. The query's parts, [nope | rope] per head, are named to the operations by
// their sizes.
struct SplitLatentProjection {
    Tensor fused;  // [T, kv_lora + rope]
    int64_t kv_lora = 0;

    Tensor latent() const { return fused.columns_at(0, kv_lora); }
    Tensor rotary_key() const { return fused.columns_at(kv_lora, fused.columns - kv_lora); }
};

// Stores latents and rotary keys of the new tokens in the cache.
struct AppendLatent {
    static constexpr const char* kName = "AppendLatent";
    Tensor latent;      // [T, kv_lora]
    Tensor rotary_key;  // [T, rope]
    std::vector<KvSegment> segments;

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("latent", op.latent, Access::kRead);
        field("rotary_key", op.rotary_key, Access::kRead);
        field("segments", op.segments, Access::kUpdated);
    }
};

// q'_h = W_K,h^T q_nope,h. `key` is either rows of kv_b_proj, [heads * (nope + value), kv_lora], of which the first
// `nope` rows of each head are used (transposed = true), or embed_q, [heads * kv_lora, nope].
struct FoldQuery {
    static constexpr const char* kName = "FoldQuery";
    Tensor query;  // [T, heads * (nope + rope)]; the first nope values of a head are used
    Weight key;
    bool transposed = true;
    int64_t heads = 0, nope = 0, rope = 0, value = 0;
    Tensor out;  // [T, heads * kv_lora]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("query", op.query, Access::kRead);
        field("key", op.key, Access::kRead);
        field("transposed", op.transposed);
        field("heads", op.heads);
        field("nope", op.nope);
        field("rope", op.rope);
        field("value", op.value);
        field("out", op.out, Access::kWritten);
    }
};

// Causal attention over the latent cache: score_t = (q'_h . latent_t + q_pe,h . k_pe,t) * scale; out_h = sum p_t
// latent_t. The whole cache is one tile: for longer ones than a backend should hold the scores of, see
// AccumulateLatentTile.
struct LatentAttention {
    static constexpr const char* kName = "LatentAttention";
    Tensor folded;  // [T, heads * kv_lora]
    Tensor query;   // [T, heads * (nope + rope)], rotary applied; the last rope values of a head are used
    int64_t heads = 0, nope = 0, rope = 0;
    float scale = 0;
    std::vector<KvSegment> segments;
    Tensor out;  // [T, heads * kv_lora]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("folded", op.folded, Access::kRead);
        field("query", op.query, Access::kRead);
        field("heads", op.heads);
        field("nope", op.nope);
        field("rope", op.rope);
        field("scale", op.scale);
        field("segments", op.segments, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// The same over cached positions [first_token, first_token + tokens) alone, added to what earlier tiles gave: per head
// the largest score m (in a unit of the backend's own), total = sum e^(score_t - m), sum = sum e^(score_t - m)
// latent_t. The first tile (first_token 0) begins anew; a row that sees nothing of a tile stays as it is. One tile,
// finalized, is LatentAttention to the bit.
struct AccumulateLatentTile {
    static constexpr const char* kName = "AccumulateLatentTile";
    Tensor folded;  // as in LatentAttention
    Tensor query;
    int64_t heads = 0, nope = 0, rope = 0;
    float scale = 0;
    int64_t first_token = 0, tokens = 0;
    std::vector<KvSegment> segments;
    Tensor maximum, total;  // [T, heads]
    Tensor sum;             // [T, heads * kv_lora]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("folded", op.folded, Access::kRead);
        field("query", op.query, Access::kRead);
        field("heads", op.heads);
        field("nope", op.nope);
        field("rope", op.rope);
        field("scale", op.scale);
        field("first_token", op.first_token);
        field("tokens", op.tokens);
        field("segments", op.segments, Access::kRead);
        field("maximum", op.maximum, Access::kUpdated);
        field("total", op.total, Access::kUpdated);
        field("sum", op.sum, Access::kUpdated);
    }
};

// out_h = sum_h / total_h, after the last tile. May be in place.
struct FinalizeLatentTiles {
    static constexpr const char* kName = "FinalizeLatentTiles";
    Tensor sum;    // [T, heads * kv_lora]
    Tensor total;  // [T, heads]
    Tensor out;    // [T, heads * kv_lora]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("sum", op.sum, Access::kReadInPlace);
        field("total", op.total, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

// out_h = W_V,h c_h. `value_weight` is either kv_b_proj, [heads * (nope + value), kv_lora], of which the last `value`
// rows of each head are used (nope > 0), or unembed_out, [heads * value, kv_lora] (nope = 0).
struct ProjectValue {
    static constexpr const char* kName = "ProjectValue";
    Tensor latent;  // [T, heads * kv_lora]
    Weight value_weight;
    int64_t heads = 0, nope = 0, value = 0;
    Tensor out;  // [T, heads * value]

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("latent", op.latent, Access::kRead);
        field("value_weight", op.value_weight, Access::kRead);
        field("heads", op.heads);
        field("nope", op.nope);
        field("value", op.value);
        field("out", op.out, Access::kWritten);
    }
};

// The same attention for many new tokens at once: keys W_K latent_t and values W_V latent_t of every cached position
// are expanded per head, then out_h = sum p_t v_t. Fewer operations than the folded form when many queries share them.
struct ExpandedLatentAttention {
    static constexpr const char* kName = "ExpandedLatentAttention";
    Tensor query;         // [T, heads * (nope + rope)], rotary applied
    Weight key;           // as in FoldQuery
    Weight value_weight;  // as in ProjectValue; the same as `key` when transposed
    bool transposed = true;
    int64_t heads = 0, nope = 0, rope = 0, value = 0;
    float scale = 0;
    std::vector<KvSegment> segments;
    Tensor out;  // [T, heads * value]

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
        field("segments", op.segments, Access::kRead);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
