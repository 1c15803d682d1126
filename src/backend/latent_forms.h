#pragma once

// The forms in which the backends of the host compute LatentAttention, and which of them suits a sequence. Shapes are
// those of a checked operation.

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "backend/host_sequences.h"

namespace sluice {

// q'_h = W_K,h^T q_nope,h. `key` is either rows of kv_b_proj, [heads * (nope + value), kv_lora], of which the first
// `nope` rows of each head are used (transposed = true), or embed_q, [heads * kv_lora, nope].
struct FoldQuery {
    Tensor query;  // [T, heads * (nope + rope)]; the first nope values of a head are used
    Weight key;
    bool transposed = true;
    int64_t heads = 0, nope = 0, rope = 0, value = 0;
    Tensor out;  // [T, heads * kv_lora]
};

// What asks the latent cache.
struct FoldedQueries {
    Tensor folded;  // [T, heads * kv_lora]
    Tensor query;   // [T, heads * (nope + rope)], rotary applied; the last rope values of a head are used
    int64_t heads = 0, nope = 0, rope = 0;
    float scale = 0;
    std::vector<KvSegment> segments;

    int key_parts() const { return rope == 0 ? 1 : 2; }
};

// Causal attention over the latent cache: score_t = (q'_h . latent_t + q_pe,h . k_pe,t) * scale; out_h = sum p_t
// latent_t. The whole cache is one tile: for longer ones than a backend should hold the scores of, see
// AccumulateLatentTile.
struct AttendLatents : FoldedQueries {
    Tensor out;  // [T, heads * kv_lora]
};

// The same over the tokens of each row's selection alone: see LatentAttention.
struct AttendSelectedLatents : FoldedQueries {
    Tensor selected;  // I32 [T, *]
    Tensor out;       // [T, heads * kv_lora]
};

// The same over cached positions [first_token, first_token + tokens) alone, added to what earlier tiles gave: per head
// the largest score m (in a unit of the backend's own), total = sum e^(score_t - m), sum = sum e^(score_t - m)
// latent_t. The first tile (first_token 0) begins anew; a row that sees nothing of a tile stays as it is. One tile,
// finalized, is AttendLatents to the bit.
struct AccumulateLatentTile : FoldedQueries {
    int64_t first_token = 0, tokens = 0;
    Tensor maximum, total;  // [T, heads]
    Tensor sum;             // [T, heads * kv_lora]
};

// out_h = sum_h / total_h, after the last tile. May be in place.
struct FinalizeLatentTiles {
    Tensor sum;    // [T, heads * kv_lora]
    Tensor total;  // [T, heads]
    Tensor out;    // [T, heads * kv_lora]
};

// out_h = W_V,h c_h. `value_weight` is either kv_b_proj, [heads * (nope + value), kv_lora], of which the last `value`
// rows of each head are used (nope > 0), or unembed_out, [heads * value, kv_lora] (nope = 0).
struct ProjectValue {
    Tensor latent;  // [T, heads * kv_lora]
    Weight value_weight;
    int64_t heads = 0, nope = 0, value = 0;
    Tensor out;  // [T, heads * value]
};

// The same attention for many new tokens at once: keys W_K latent_t and values W_V latent_t of every cached position
// are expanded per head, then out_h = sum p_t v_t. Fewer operations than the folded form when many queries share them.
struct ExpandedLatentAttention {
    LatentAttention attention;  // its `segments` in place of sequences and cache
    std::vector<KvSegment> segments;
};

// The one list of the forms.
#define SLUICE_LATENT_FORMS(X) \
    X(FoldQuery)               \
    X(AttendLatents)           \
    X(AttendSelectedLatents)   \
    X(AccumulateLatentTile)    \
    X(FinalizeLatentTiles)     \
    X(ProjectValue)            \
    X(ExpandedLatentAttention)

// Sequences one after the other that take the same form, as an operation of their own.
struct LatentRun {
    bool expanded = false;
    LatentAttention attention;  // over the rows of these sequences alone
    std::vector<KvSegment> segments;
};

// Only the shape of a sequence's own piece decides on its form, so company changes no bit. Where tokens are selected,
// all are folded.
std::vector<LatentRun> latent_runs(const LatentAttention& op, std::span<const KvSegment> segments);

// Cached tokens whose scores the folded form holds at once; longer caches go in tiles.
inline constexpr int64_t kLatentTileTokens = 4096;

// Fold, attend in one tile or in several, project: compute(form) for each.
template <typename Compute>
void attend_folded(const LatentAttention& op, const std::vector<KvSegment>& segments, Compute&& compute) {
    const int64_t width = op.heads * op.kv_lora();
    const Tensor folded = op.scratch.columns_at(0, width), attended = op.scratch.columns_at(width, width);
    const Tensor maximum = op.scratch.columns_at(2 * width, op.heads);
    const Tensor total = op.scratch.columns_at(2 * width + op.heads, op.heads);
    compute(FoldQuery{.query = op.query,
                      .key = op.key,
                      .transposed = op.transposed,
                      .heads = op.heads,
                      .nope = op.nope,
                      .rope = op.rope,
                      .value = op.value,
                      .out = folded});
    const FoldedQueries queries{.folded = folded,
                                .query = op.query,
                                .heads = op.heads,
                                .nope = op.nope,
                                .rope = op.rope,
                                .scale = op.scale,
                                .segments = segments};
    int64_t tokens = 0;
    for (const KvSegment& segment : segments) tokens = std::max(tokens, segment.rows.position + segment.rows.count);
    if (op.selected.buffer != nullptr) {
        compute(AttendSelectedLatents{queries, op.selected, attended});
    } else if (tokens <= kLatentTileTokens) {
        compute(AttendLatents{queries, attended});
    } else {
        AccumulateLatentTile tile{queries, 0, kLatentTileTokens, maximum, total, attended};
        for (; tile.first_token < tokens; tile.first_token += tile.tokens) compute(tile);
        compute(FinalizeLatentTiles{.sum = attended, .total = total, .out = attended});
    }
    compute(ProjectValue{.latent = attended,
                         .value_weight = op.value_weight,
                         .heads = op.heads,
                         .nope = op.transposed ? op.nope : 0,
                         .value = op.value,
                         .out = op.out});
}

// compute(form) for the forms that the operation's sequences take.
template <typename Compute>
void in_latent_forms(const LatentAttention& op, Compute&& compute) {
    for (LatentRun& run : latent_runs(op, kv_segments(op.kName, op.sequences, op.cache, op.query.rows))) {
        if (run.expanded) {
            compute(ExpandedLatentAttention{std::move(run.attention), std::move(run.segments)});
        } else {
            attend_folded(run.attention, run.segments, compute);
        }
    }
}

}  // namespace sluice
