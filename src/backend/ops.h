#pragma once

// Every operation of the forward pass, as a struct of named fields. T is the number of rows of a batch: the new tokens
// of all its sequences, one after the other. All activations are F32. Formulas: docs/architecture.md. kName is what
// errors and profiles call the operation.

#include <cstdint>
#include <vector>

#include "backend/tensor.h"
#include "tensor/kv_format.h"

namespace sluice {

// The rows of one sequence in a batch: rows [first_row, first_row + count), at positions position, position + 1, ...
struct SequenceRows {
    int64_t first_row = 0;
    int64_t count = 0;
    int64_t position = 0;
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
};

struct KvSegment {
    SequenceRows rows;
    KvPages cache;  // pages for positions up to rows.position + rows.count
};

// A recurrent layer's state of one sequence, read and replaced.
struct StateSegment {
    SequenceRows rows;
    Tensor state;
};

// out[t] = table[ids[t]].
struct Embed {
    static constexpr const char* kName = "Embed";
    Tensor ids;    // I32 [T, 1]
    Weight table;  // [vocabulary, hidden]
    Tensor out;    // [T, hidden]
};

// Per row and per run of weight.columns values: out = x * rsqrt(mean(x^2) + epsilon) * weight. May be in place.
struct RmsNorm {
    static constexpr const char* kName = "RmsNorm";
    Tensor x;       // [T, n * width]
    Tensor weight;  // [1, width]
    float epsilon = 0;
    Tensor out;  // [T, n * width]
};

// out = x . weight^T, or out += with `accumulate`.
struct Linear {
    static constexpr const char* kName = "Linear";
    Tensor x;       // [T, in]
    Weight weight;  // [out, in]
    Tensor out;     // [T, out]
    bool accumulate = false;
    bool full_precision = false;  // F32 activations even where the backend would quantize them (routers)
};

// Rotates dims [first, first + 2 * frequencies.columns) of every head, in place: angle = position * frequency, cos and
// sin times `magnitude`. Pairs (i, i + half), or (2i, 2i + 1) when interleaved.
struct Rotary {
    static constexpr const char* kName = "Rotary";
    Tensor x;            // [T, heads * head_dim]
    Tensor positions;    // I32 [T, 1]
    Tensor frequencies;  // [1, rotary / 2]
    int64_t head_dim = 0;
    int64_t first = 0;
    bool interleaved = false;
    float magnitude = 1;
};

// Splits gated attention's projection, per head [q | gate].
struct SplitQueryGate {
    static constexpr const char* kName = "SplitQueryGate";
    Tensor fused;  // [T, heads * 2 * head_dim]
    int64_t head_dim = 0;
    Tensor query;  // [T, heads * head_dim]
    Tensor gate;   // [T, heads * head_dim]
};

// Stores keys and values of the new tokens in the cache.
struct AppendKeyValue {
    static constexpr const char* kName = "AppendKeyValue";
    Tensor keys;    // [T, kv_heads * head_dim]
    Tensor values;  // [T, kv_heads * head_dim]
    int64_t kv_heads = 0;
    std::vector<KvSegment> segments;
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
};

// x *= sigmoid(gate), in place.
struct SigmoidGate {
    static constexpr const char* kName = "SigmoidGate";
    Tensor x;     // [T, n]
    Tensor gate;  // [T, n]
};

// Qwen3-Next's fused projections, per key head [q | k | v r*dv | z r*dv] and [b r | a r] with r = value_heads /
// key_heads, to [all q | all k | all v], z, b and a.
struct SplitLinearProjections {
    static constexpr const char* kName = "SplitLinearProjections";
    Tensor qkvz;  // [T, key_heads * (2 * key_dim + 2 * r * value_dim)]
    Tensor ba;    // [T, 2 * value_heads]
    int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
    Tensor qkv;   // [T, 2 * key_heads * key_dim + value_heads * value_dim]
    Tensor z;     // [T, value_heads * value_dim]
    Tensor b, a;  // [T, value_heads]
};

// Causal depthwise convolution, then silu. The state is the last kernel-1 inputs, oldest first: F32 [kernel-1,
// channels]. Tap kernel-1 is on the current token.
struct CausalConvolution {
    static constexpr const char* kName = "CausalConvolution";
    Tensor x;       // [T, channels]
    Tensor weight;  // [channels, kernel]
    std::vector<StateSegment> segments;
    Tensor out;  // [T, channels]; not x
};

// Gated delta rule. q and k are L2-normalized per head (eps 1e-6 inside the root), q times 1/sqrt(key_dim); g =
// exp(-exp(a_log) softplus(a + dt_bias)), beta = sigmoid(b); value head h uses key head h / (value_heads / key_heads).
// State S [value_heads * value_dim, key_dim] in F32: S = g S; S += beta (v - S k) k^T; out = S q.
struct GatedDeltaRule {
    static constexpr const char* kName = "GatedDeltaRule";
    Tensor qkv;             // [T, 2 * key_heads * key_dim + value_heads * value_dim]
    Tensor b, a;            // [T, value_heads]
    Tensor a_log, dt_bias;  // [1, value_heads]
    int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
    std::vector<StateSegment> segments;
    Tensor out;  // [T, value_heads * value_dim]
};

// Per head: out = rms(x, weight) * silu(z). May be in place on x.
struct GatedRmsNorm {
    static constexpr const char* kName = "GatedRmsNorm";
    Tensor x;       // [T, heads * width]
    Tensor z;       // [T, heads * width]
    Tensor weight;  // [1, width]
    float epsilon = 0;
    Tensor out;  // [T, heads * width]
};

// p = softmax(logits); the top_k largest (ties: lower id), in ascending id order; weights divided by their sum if
// asked.
struct RouteSoftmax {
    static constexpr const char* kName = "RouteSoftmax";
    Tensor logits;  // [T, experts]
    bool normalize = true;
    Tensor ids;      // I32 [T, top_k]
    Tensor weights;  // [T, top_k]
};

// DeepSeek-V3: s = sigmoid(logits), c = s + bias; a group's score is the sum of its two largest c; top_k of c inside
// the groups_kept best groups, in ascending id order; weights are s, divided by (sum + 1e-20) if asked, times scale.
struct RouteGrouped {
    static constexpr const char* kName = "RouteGrouped";
    Tensor logits;  // [T, experts]
    Tensor bias;    // [1, experts]
    int64_t groups = 1, groups_kept = 1;
    bool normalize = true;
    float scale = 1;
    Tensor ids;      // I32 [T, top_k]
    Tensor weights;  // [T, top_k]
};

// One MLP and the rows it is applied to.
struct MlpGroup {
    Weight gate, up;                // [inner, hidden]
    Weight down;                    // [hidden, inner]
    std::vector<int32_t> rows;      // of x
    std::vector<int32_t> out_rows;  // of out, same length
};

// For every group: out[out_row] = down . (silu(gate . x[row]) * (up . x[row])). Experts, shared experts and dense MLPs.
struct GatedMlp {
    static constexpr const char* kName = "GatedMlp";
    Tensor x;  // [T, hidden]
    std::vector<MlpGroup> groups;
    Tensor out;  // [*, hidden]; out_rows are distinct
};

// out[t] += sum over j of weights[t, j] * parts[t * top_k + j], added in ascending j.
struct CombineExperts {
    static constexpr const char* kName = "CombineExperts";
    Tensor parts;    // [T * top_k, hidden]
    Tensor weights;  // [T, top_k]
    Tensor out;      // [T, hidden]
};

// out += x, or out += sigmoid(gate) * x with one gate value per row (gate.buffer may be null).
struct AddGated {
    static constexpr const char* kName = "AddGated";
    Tensor x;     // [T, hidden]
    Tensor gate;  // [T, 1] or empty
    Tensor out;   // [T, hidden]
};

// out[i] = x[rows[i]].
struct GatherRows {
    static constexpr const char* kName = "GatherRows";
    Tensor x;  // [T, n]
    std::vector<int32_t> rows;
    Tensor out;  // [rows.size(), n]
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
};

// out_h = sum_h / total_h, after the last tile. May be in place.
struct FinalizeLatentTiles {
    static constexpr const char* kName = "FinalizeLatentTiles";
    Tensor sum;    // [T, heads * kv_lora]
    Tensor total;  // [T, heads]
    Tensor out;    // [T, heads * kv_lora]
};

// out_h = W_V,h c_h. `value_weight` is either kv_b_proj, [heads * (nope + value), kv_lora], of which the last `value`
// rows of each head are used (nope > 0), or unembed_out, [heads * value, kv_lora] (nope = 0).
struct ProjectValue {
    static constexpr const char* kName = "ProjectValue";
    Tensor latent;  // [T, heads * kv_lora]
    Weight value_weight;
    int64_t heads = 0, nope = 0, value = 0;
    Tensor out;  // [T, heads * value]
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
};

}  // namespace sluice
