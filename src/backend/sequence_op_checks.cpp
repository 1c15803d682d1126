// Backend::check of the operations that reach across the tokens of a sequence: attention, recurrence, caches.

#include "backend/backend.h"
#include "backend/checks.h"
#include "backend/kv_layout.h"

namespace sluice {

namespace {

constexpr int64_t kAny = OperationCheck::kAny;

void check_grouped_cache(const OperationCheck& check, const std::vector<KvSegment>& segments, int64_t batch_rows,
                         int64_t kv_heads, int64_t head_dim) {
    check.segments(segments, batch_rows);
    for (const KvSegment& segment : segments) {
        check.size("page_tokens of segments", segment.cache.page_tokens);
        const GroupedKvLayout layout(segment.cache.format, segment.cache.page_tokens, kv_heads, head_dim);
        check.pages(segment, layout.page_bytes());
    }
}

void check_latent_cache(const OperationCheck& check, const std::vector<KvSegment>& segments, int64_t batch_rows,
                        int64_t kv_lora, int64_t rope) {
    check.segments(segments, batch_rows);
    for (const KvSegment& segment : segments) {
        check.size("page_tokens of segments", segment.cache.page_tokens);
        const LatentKvLayout layout(segment.cache.format, segment.cache.page_tokens, kv_lora, rope);
        check.pages(segment, layout.page_bytes());
    }
}

// What LatentAttention reads, whole or in tiles; gives kv_lora.
template <typename Op>
int64_t check_latent_scores(const OperationCheck& check, const Op& op) {
    check.size("heads", op.heads);
    check.size("nope", op.nope);
    check.size("rope", op.rope);
    check.tensor("folded", op.folded, kAny, kAny);
    check.multiple("folded.columns", op.folded.columns, op.heads);
    const int64_t kv_lora = op.folded.columns / op.heads;
    check.size("kv_lora", kv_lora);
    check.tensor("query", op.query, op.folded.rows, op.heads * (op.nope + op.rope));
    check_latent_cache(check, op.segments, op.folded.rows, kv_lora, op.rope);
    return kv_lora;
}

}  // namespace

void Backend::check(const AppendKeyValue& op) {
    const OperationCheck check(op.kName);
    check.size("kv_heads", op.kv_heads);
    check.tensor("keys", op.keys, kAny, kAny);
    check.multiple("keys.columns", op.keys.columns, op.kv_heads);
    check.tensor("values", op.values, op.keys.rows, op.keys.columns);
    check_grouped_cache(check, op.segments, op.keys.rows, op.kv_heads, op.keys.columns / op.kv_heads);
}

void Backend::check(const Attention& op) {
    const OperationCheck check(op.kName);
    check.size("heads", op.heads);
    check.size("kv_heads", op.kv_heads);
    check.multiple("heads", op.heads, op.kv_heads);
    check.tensor("query", op.query, kAny, kAny);
    check.multiple("query.columns", op.query.columns, op.heads);
    check.tensor("out", op.out, op.query.rows, op.query.columns);
    check.apart("out", op.out, "query", op.query);
    check_grouped_cache(check, op.segments, op.query.rows, op.kv_heads, op.query.columns / op.heads);
}

void Backend::check(const CausalConvolution& op) {
    const OperationCheck check(op.kName);
    check.tensor("x", op.x, kAny, kAny);
    check.tensor("weight", op.weight, op.x.columns, kAny);
    check.tensor("out", op.out, op.x.rows, op.x.columns);
    check.apart("out", op.out, "x", op.x);
    check.segments(op.segments, op.x.rows, op.weight.columns - 1, op.x.columns);
}

void Backend::check(const GatedDeltaRule& op) {
    const OperationCheck check(op.kName);
    check.size("key_heads", op.key_heads);
    check.size("value_heads", op.value_heads);
    check.size("key_dim", op.key_dim);
    check.size("value_dim", op.value_dim);
    check.multiple("value_heads", op.value_heads, op.key_heads);
    const int64_t values = op.value_heads * op.value_dim;
    check.tensor("qkv", op.qkv, kAny, 2 * op.key_heads * op.key_dim + values);
    check.tensor("b", op.b, op.qkv.rows, op.value_heads);
    check.tensor("a", op.a, op.qkv.rows, op.value_heads);
    check.tensor("a_log", op.a_log, 1, op.value_heads);
    check.tensor("dt_bias", op.dt_bias, 1, op.value_heads);
    check.tensor("out", op.out, op.qkv.rows, values);
    check.apart("out", op.out, "qkv", op.qkv);
    check.apart("out", op.out, "b", op.b);
    check.apart("out", op.out, "a", op.a);
    check.segments(op.segments, op.qkv.rows, values, op.key_dim);
}

void Backend::check(const AppendLatent& op) {
    const OperationCheck check(op.kName);
    check.tensor("latent", op.latent, kAny, kAny);
    check.tensor("rotary_key", op.rotary_key, op.latent.rows, kAny);
    check.size("latent.columns", op.latent.columns);
    check.size("rotary_key.columns", op.rotary_key.columns);
    check_latent_cache(check, op.segments, op.latent.rows, op.latent.columns, op.rotary_key.columns);
}

void Backend::check(const FoldQuery& op) {
    const OperationCheck check(op.kName);
    check.size("heads", op.heads);
    check.size("nope", op.nope);
    check.size("rope", op.rope);
    check.tensor("query", op.query, kAny, op.heads * (op.nope + op.rope));
    check.tensor("out", op.out, op.query.rows, kAny);
    check.multiple("out.columns", op.out.columns, op.heads);
    const int64_t kv_lora = op.out.columns / op.heads;
    if (op.transposed) {
        check.size("value", op.value);
        check.weight("key", op.key, op.heads * (op.nope + op.value), kv_lora);
    } else {
        check.weight("key", op.key, op.heads * kv_lora, op.nope);
    }
    check.apart("out", op.out, "query", op.query);
}

void Backend::check(const LatentAttention& op) {
    const OperationCheck check(op.kName);
    const int64_t kv_lora = check_latent_scores(check, op);
    check.tensor("out", op.out, op.folded.rows, op.heads * kv_lora);
    check.apart("out", op.out, "folded", op.folded);
    check.apart("out", op.out, "query", op.query);
}

void Backend::check(const AccumulateLatentTile& op) {
    const OperationCheck check(op.kName);
    const int64_t kv_lora = check_latent_scores(check, op);
    check.size("tokens", op.tokens);
    if (op.first_token != 0) check.size("first_token", op.first_token);
    check.tensor("maximum", op.maximum, op.folded.rows, op.heads);
    check.tensor("total", op.total, op.folded.rows, op.heads);
    check.tensor("sum", op.sum, op.folded.rows, op.heads * kv_lora);
    check.apart("total", op.total, "maximum", op.maximum);
    for (const auto& [field, tensor] :
         {std::pair("maximum", &op.maximum), std::pair("total", &op.total), std::pair("sum", &op.sum)}) {
        check.apart(field, *tensor, "folded", op.folded);
        check.apart(field, *tensor, "query", op.query);
        if (tensor != &op.sum) check.apart(field, *tensor, "sum", op.sum);
    }
}

void Backend::check(const FinalizeLatentTiles& op) {
    const OperationCheck check(op.kName);
    check.tensor("sum", op.sum, kAny, kAny);
    check.tensor("total", op.total, op.sum.rows, kAny);
    check.multiple("sum.columns", op.sum.columns, op.total.columns);
    check.tensor("out", op.out, op.sum.rows, op.sum.columns);
    check.apart("out", op.out, "sum", op.sum, true);
    check.apart("out", op.out, "total", op.total);
}

void Backend::check(const ProjectValue& op) {
    const OperationCheck check(op.kName);
    check.size("heads", op.heads);
    check.size("value", op.value);
    if (op.nope != 0) check.size("nope", op.nope);
    check.tensor("latent", op.latent, kAny, kAny);
    check.multiple("latent.columns", op.latent.columns, op.heads);
    check.weight("value_weight", op.value_weight, op.heads * (op.nope + op.value), op.latent.columns / op.heads);
    check.tensor("out", op.out, op.latent.rows, op.heads * op.value);
    check.apart("out", op.out, "latent", op.latent);
}

void Backend::check(const ExpandedLatentAttention& op) {
    const OperationCheck check(op.kName);
    check.size("heads", op.heads);
    check.size("nope", op.nope);
    check.size("rope", op.rope);
    check.size("value", op.value);
    check.tensor("query", op.query, kAny, op.heads * (op.nope + op.rope));
    int64_t kv_lora = op.key.columns;
    if (op.transposed) {
        check.weight("key", op.key, op.heads * (op.nope + op.value), kv_lora);
        check.weight("value_weight", op.value_weight, op.heads * (op.nope + op.value), kv_lora);
    } else {
        check.multiple("key.rows", op.key.rows, op.heads);
        kv_lora = op.key.rows / op.heads;
        check.weight("key", op.key, op.heads * kv_lora, op.nope);
        check.weight("value_weight", op.value_weight, op.heads * op.value, kv_lora);
    }
    check.tensor("out", op.out, op.query.rows, op.heads * op.value);
    check.apart("out", op.out, "query", op.query);
    check_latent_cache(check, op.segments, op.query.rows, kv_lora, op.rope);
}

}  // namespace sluice
