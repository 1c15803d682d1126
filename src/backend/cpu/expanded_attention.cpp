// MLA for many new tokens: keys and values of a head are expanded from the latents once and serve all its queries.

#include <algorithm>
#include <array>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_tensors.h"
#include "backend/kv_layout.h"

namespace sluice {

namespace {

// Query rows that go through the keys together.
constexpr int kQueryRows = 64;

// The cached tokens of a segment as floats.
struct Latents {
    int64_t tokens = 0;
    const float* values = nullptr;  // [tokens, rank]
};

// W_K and W_V of one head as float rows over the latent.
struct HeadWeights {
    float* key;    // [nope, rank]
    float* value;  // [value, rank]
};

void decode_head(const KernelTable& kernels, const LatentAttention& op, int64_t head, int64_t rank,
                 const HeadWeights& weights, float* line) {
    const WeightView key = view(op.key), value = view(op.value_weight);
    if (op.transposed) {
        const int64_t first = head * (op.nope + op.value);
        for (int64_t r = 0; r < op.nope; ++r) kernels.decode(key, first + r, 0, rank, weights.key + r * rank);
        for (int64_t r = 0; r < op.value; ++r) {
            kernels.decode(value, first + op.nope + r, 0, rank, weights.value + r * rank);
        }
        return;
    }
    for (int64_t c = 0; c < rank; ++c) {
        kernels.decode(key, head * rank + c, 0, op.nope, line);
        for (int64_t r = 0; r < op.nope; ++r) weights.key[r * rank + c] = line[r];
    }
    for (int64_t r = 0; r < op.value; ++r) {
        kernels.decode(value, head * op.value + r, 0, rank, weights.value + r * rank);
    }
}

}  // namespace

// One head of one segment: its expanded rows [key | value], one per token, and what attention reads.
struct CpuBackend::ExpandedHead {
    const LatentAttention& op;
    const KvSegment& segment;
    const Latents& latents;
    int64_t head, rank;
    const AttentionKernel& kernel;

    int64_t width() const { return op.nope + op.value; }
    int key_parts() const { return op.rope == 0 ? 1 : 2; }

    // Keys are [expanded | rotary, as cached]; values follow the keys in the expanded rows.
    std::array<KvRows, 2> keys(const std::byte* const* expanded) const {
        const LatentKvLayout layout(segment.cache.format, segment.cache.page_tokens, rank, op.rope);
        return {KvRows{KvFormat::kF32, expanded, latents.tokens, static_cast<uint64_t>(width()) * sizeof(float), 0,
                       op.nope},
                KvRows{segment.cache.format, segment.cache.pages.data(), segment.cache.page_tokens, layout.token_bytes,
                       layout.rotary_key(0), op.rope}};
    }
    size_t attention_floats(const std::array<KvRows, 2>& rows) const {
        return kernel.scratch(rows.data(), key_parts(), op.value, kQueryRows);
    }
};

void CpuBackend::run_expanded_head(const ExpandedHead& task, const float* query, float* out) {
    const LatentAttention& op = task.op;
    const int64_t tokens = task.latents.tokens, rank = task.rank, width = task.width();
    const std::byte* expanded_bytes = nullptr;
    const std::array<KvRows, 2> keys = task.keys(&expanded_bytes);
    const auto weight_floats = static_cast<size_t>(width * rank), token_floats = static_cast<size_t>(width * tokens);
    const auto line_floats = static_cast<size_t>(std::max(op.nope, rank));
    Scratch& scratch = thread_scratch();
    scratch.reset(Scratch::padded<float>(weight_floats) + Scratch::padded<float>(token_floats) +
                  Scratch::padded<float>(line_floats) + Scratch::padded<float>(task.attention_floats(keys)));
    auto* weights = scratch.take<float>(weight_floats);
    auto* expanded = scratch.take<float>(token_floats);
    auto* line = scratch.take<float>(line_floats);
    auto* attention = scratch.take<float>(task.attention_floats(keys));
    expanded_bytes = reinterpret_cast<const std::byte*>(expanded);

    decode_head(kernels_, op, task.head, rank, {weights, weights + op.nope * rank}, line);
    std::vector<const float*> sources;
    std::vector<float*> targets;
    for (int64_t t = 0; t < tokens; ++t) {
        sources.push_back(task.latents.values + t * rank);
        targets.push_back(expanded + t * width);
    }
    kernels_.float_matrix(weights, rank, width, rank, sources.data(), tokens, targets.data(), 0, false);

    KvRows values = keys[0];
    values.offset = static_cast<uint64_t>(op.nope) * sizeof(float);
    values.columns = op.value;
    const SequenceRows& span = task.segment.rows;
    for (int64_t first = 0; first < span.count; first += kQueryRows) {
        const int64_t count = std::min<int64_t>(kQueryRows, span.count - first);
        std::vector<const float*> parts[2];
        std::vector<float*> to;
        std::vector<int64_t> visible;
        for (int64_t i = first; i < first + count; ++i) {
            const int64_t row = span.first_row + i;
            const float* q = query + row * op.query.row_stride + task.head * (op.nope + op.rope);
            parts[0].push_back(q);
            parts[1].push_back(q + op.nope);
            to.push_back(out + row * op.out.row_stride + task.head * op.value);
            visible.push_back(span.position + i + 1);
        }
        task.kernel.run({keys.data(),
                         {parts[0].data(), parts[1].data()},
                         task.key_parts(),
                         values,
                         static_cast<int>(count),
                         visible.data(),
                         op.scale,
                         to.data(),
                         attention});
    }
}

void CpuBackend::compute(const ExpandedLatentAttention& form) {
    const LatentAttention& op = form.attention;
    const float* query = floats(op.query);
    float* out = writable_floats(op.out);
    const AttentionKernel& kernel = exact_ ? kernels_.attention : kernels_.rounded_attention;
    const int64_t rank = op.kv_lora();
    for (const KvSegment& segment : form.segments) {
        const KvPages& cache = segment.cache;
        const LatentKvLayout layout(cache.format, cache.page_tokens, rank, op.rope);
        Latents latents;
        latents.tokens = segment.rows.position + segment.rows.count;
        scratch_.reset(Scratch::padded<float>(static_cast<size_t>(latents.tokens * rank)));
        auto* values = scratch_.take<float>(static_cast<size_t>(latents.tokens * rank));
        for_rows(latents.tokens, rank, [&](int64_t t) {
            const std::byte* page = cache.pages[static_cast<size_t>(t / cache.page_tokens)];
            decode_kv_row(cache.format, page + layout.latent(t % cache.page_tokens), rank, values + t * rank);
        });
        latents.values = values;
        for_tasks(static_cast<size_t>(op.heads), [&](size_t head) {
            run_expanded_head({op, segment, latents, static_cast<int64_t>(head), rank, kernel}, query, out);
        });
    }
}

}  // namespace sluice
