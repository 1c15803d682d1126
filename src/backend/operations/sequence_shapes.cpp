// Shapes of the operations that reach across the tokens of a sequence: attention, recurrence, caches.

#include "backend/checks.h"
#include "backend/kv_layout.h"
#include "backend/operations.h"

namespace sluice {

namespace {

void check_grouped_cache(const OperationCheck& check, const Sequences& sequences, const PagedCache& cache,
                         int64_t kv_heads, int64_t head_dim, int64_t value_dim) {
    check.sequences(sequences);
    check.size("page_tokens of cache", cache.page_tokens);
    const GroupedKvLayout layout(cache.format, cache.page_tokens, kv_heads, head_dim, value_dim);
    check.cache(cache, sequences, layout.page_bytes());
}

void check_latent_cache(const OperationCheck& check, const Sequences& sequences, const PagedCache& cache,
                        int64_t kv_lora, int64_t rope) {
    check.sequences(sequences);
    check.size("page_tokens of cache", cache.page_tokens);
    check.cache(cache, sequences, LatentKvLayout(cache.format, cache.page_tokens, kv_lora, rope).page_bytes());
}

}  // namespace

void AppendKeyValue::check_shapes(const OperationCheck& check) const {
    check.size("kv_heads", kv_heads);
    check.tensor("keys", keys, kAnySize, kAnySize);
    check.multiple("keys.columns", keys.columns, kv_heads);
    check.tensor("values", values, keys.rows, kAnySize);
    check.multiple("values.columns", values.columns, kv_heads);
    check_grouped_cache(check, sequences, cache, kv_heads, keys.columns / kv_heads, values.columns / kv_heads);
}

void Attention::check_shapes(const OperationCheck& check) const {
    check.size("heads", heads);
    check.size("kv_heads", kv_heads);
    check.multiple("heads", heads, kv_heads);
    check.tensor("query", query, kAnySize, kAnySize);
    check.multiple("query.columns", query.columns, heads);
    if (window != 0) check.size("window", window);
    if (chunk != 0) check.size("chunk", chunk);
    if (sinks.buffer != nullptr) check.tensor("sinks", sinks, 1, heads);
    if (selected.buffer != nullptr) {
        check.tensor("selected", selected, query.rows, kAnySize, DType::kI32);
        check.size("selected.columns", selected.columns);
        if (window != 0 || chunk != 0 || sinks.buffer != nullptr) {
            check.refuse("selected", "is there beside a window, a chunk or sinks: what a row sees is said once");
        }
    }
    check.tensor("out", out, query.rows, kAnySize);
    check.multiple("out.columns", out.columns, heads);
    check_grouped_cache(check, sequences, cache, kv_heads, query.columns / heads, out.columns / heads);
}

void CausalConvolution::check_shapes(const OperationCheck& check) const {
    check.tensor("x", x, kAnySize, kAnySize);
    check.tensor("weight", weight, x.columns, kAnySize);
    if (bias.buffer != nullptr) check.tensor("bias", bias, 1, x.columns);
    check.tensor("out", out, x.rows, x.columns);
    check.size("distance", distance);
    check.sequences(sequences);
    check.states(states, sequences, history(), x.columns);
}

void SelectiveScan::check_shapes(const OperationCheck& check) const {
    check.size("heads", heads);
    check.size("head_dim", head_dim);
    check.size("groups", groups);
    check.size("state_dim", state_dim);
    check.multiple("heads", heads, groups);
    check.tensor("xbc", xbc, kAnySize, inner() + 2 * groups * state_dim);
    check.tensor("dt", dt, xbc.rows, heads);
    check.tensor("a_log", a_log, 1, heads);
    check.tensor("dt_bias", dt_bias, 1, heads);
    check.tensor("skip", skip, 1, heads);
    check.tensor("out", out, xbc.rows, inner());
    check.sequences(sequences);
    check.states(states, sequences, inner(), state_dim);
}

void GatedDeltaRule::check_shapes(const OperationCheck& check) const {
    check.size("key_heads", key_heads);
    check.size("value_heads", value_heads);
    check.size("key_dim", key_dim);
    check.size("value_dim", value_dim);
    check.multiple("value_heads", value_heads, key_heads);
    const int64_t values = value_heads * value_dim;
    check.tensor("qkv", qkv, kAnySize, 2 * key_heads * key_dim + values);
    check.tensor("b", b, qkv.rows, value_heads);
    check.tensor("a", a, qkv.rows, decays_by_channel() ? value_heads * key_dim : value_heads);
    check.tensor("a_log", a_log, 1, value_heads);
    check.tensor("dt_bias", dt_bias, 1, a.columns);
    check.tensor("out", out, qkv.rows, values);
    check.sequences(sequences);
    check.states(states, sequences, values, key_dim);
}

namespace {

void check_row_cache(const OperationCheck& check, const Sequences& sequences, const PagedCache& cache, int64_t width,
                     int64_t ratio) {
    check.sequences(sequences);
    check.size("page_tokens of cache", cache.page_tokens);
    check.size("ratio", ratio);
    check.multiple("page_tokens of cache", cache.page_tokens, ratio);
    check.cache(cache, sequences, RowKvLayout(cache.format, cache.page_tokens / ratio, width).page_bytes());
}

}  // namespace

void AppendRows::check_shapes(const OperationCheck& check) const {
    check.tensor("rows", rows, kAnySize, kAnySize);
    check.size("rows.columns", rows.columns);
    check_row_cache(check, sequences, cache, rows.columns, ratio);
}

void SelectTokens::check_shapes(const OperationCheck& check) const {
    check.tensor("query", query, kAnySize, kAnySize);
    if (weights.buffer != nullptr) check.tensor("weights", weights, query.rows, kAnySize);
    check.size("heads", head_count());
    check.multiple("query.columns", query.columns, head_count());
    check.tensor("out", out, query.rows, kAnySize, DType::kI32);
    check.size("ratio", ratio);
    if (as_tokens) check.multiple("out.columns + 1", out.columns + 1, ratio);
    check.size("runs of out", most_runs());
    check_row_cache(check, sequences, cache, width(), ratio);
}

void SharedKeyAttention::check_shapes(const OperationCheck& check) const {
    check.size("heads", heads);
    check.tensor("keys", keys, kAnySize, kAnySize);
    check.tensor("query", query, keys.rows, heads * width());
    if (sinks.buffer != nullptr) check.tensor("sinks", sinks, 1, heads);
    if (runs.buffer != nullptr) check.tensor("runs", runs, keys.rows, kAnySize, DType::kI32);
    check.tensor("out", out, keys.rows, heads * width());
    check.sequences(sequences);
    check.size("window", window());
    check.own_states(states, sequences, window(), width());
    if (ratio != 0) check_row_cache(check, sequences, cache, width(), ratio);
}

void PoolTokens::check_shapes(const OperationCheck& check) const {
    check.size("ratio", ratio());
    check.tensor("offsets", offsets, kAnySize, kAnySize);
    if (overlapping) check.multiple("offsets.columns", width(), 2);
    check.tensor("values", values, kAnySize, width());
    if (gates.buffer != nullptr) check.tensor("gates", gates, values.rows, width());
    check.tensor("out", out, values.rows, overlapping ? width() / 2 : width());
    check.sequences(sequences);
    check.own_states(states, sequences, seen(), state_columns());
}

void AppendLatent::check_shapes(const OperationCheck& check) const {
    check.tensor("latent", latent, kAnySize, kAnySize);
    check.size("latent.columns", latent.columns);
    if (rotary_key.buffer != nullptr) {
        check.tensor("rotary_key", rotary_key, latent.rows, kAnySize);
        check.size("rotary_key.columns", rotary_key.columns);
    }
    check_latent_cache(check, sequences, cache, latent.columns, rotary_key.columns);
}

void LatentAttention::check_shapes(const OperationCheck& check) const {
    check.size("heads", heads);
    check.size("nope", nope);
    if (rope != 0) check.size("rope", rope);
    check.size("value", value);
    check.tensor("query", query, kAnySize, heads * (nope + rope));

    if (transposed) {
        check.weight("key", key, heads * (nope + value), key.columns);
        check.weight("value_weight", value_weight, heads * (nope + value), key.columns);
    } else {
        check.multiple("key.rows", key.rows, heads);
        check.size("kv_lora", key.rows / heads);
        check.weight("key", key, kAnySize, nope);
        check.weight("value_weight", value_weight, heads * value, kv_lora());
    }
    if (selected.buffer != nullptr) {
        check.tensor("selected", selected, query.rows, kAnySize, DType::kI32);
        check.size("selected.columns", selected.columns);
    }
    check.tensor("scratch", scratch, query.rows, scratch_columns(heads, kv_lora()));
    check.tensor("out", out, query.rows, heads * value);
    check_latent_cache(check, sequences, cache, kv_lora(), rope);
}

}  // namespace sluice
