// Attention over the cache: grouped heads, and MLA's latents.

#include <algorithm>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"
#include "backend/kv_layout.h"

namespace sluice {

namespace {

// Query rows that share the decoding of a tile of the cache.
constexpr int64_t kBlockRows = 64;

// Query heads [first_head, first_head + heads), which share keys, of tokens [first, first + count) of a segment.
struct Block {
    size_t segment;
    int64_t first_head, heads, first, count;

    int64_t rows() const { return count * heads; }
    int64_t token(int64_t row) const { return first + row / heads; }
    int64_t head(int64_t row) const { return first_head + row % heads; }
};

// Every `share` heads share keys, and are parted only where there are fewer blocks than threads.
std::vector<Block> cut(const std::vector<KvSegment>& segments, int64_t heads, int64_t share, size_t threads) {
    const int64_t tokens = std::max<int64_t>(1, kBlockRows / share);
    int64_t whole = 0;
    for (const KvSegment& segment : segments) {
        whole += (segment.rows.count + tokens - 1) / tokens * ((heads + share - 1) / share);
    }
    const auto team = static_cast<int64_t>(threads);
    const int64_t parts = whole == 0 || whole >= team ? 1 : (team + whole - 1) / whole;
    const int64_t part = (share + parts - 1) / parts;
    std::vector<Block> blocks;
    for (size_t s = 0; s < segments.size(); ++s) {
        const int64_t count = segments[s].rows.count;
        // The longest first, so that the threads end together.
        for (int64_t end = count; end > 0; end = (end - 1) / tokens * tokens) {
            const int64_t first = (end - 1) / tokens * tokens;
            for (int64_t head = 0; head < heads;) {
                const int64_t group_end = std::min((head / share + 1) * share, heads);
                const int64_t taken = std::min(part, group_end - head);
                blocks.push_back({s, head, taken, first, end - first});
                head += taken;
            }
        }
    }
    return blocks;
}

// The rows at the beginning of a segment for which all tokens are selected.
int64_t rows_that_see_all(const Attention& op, const SequenceRows& rows) {
    int64_t count = 0;
    for (; count < rows.count; ++count) {
        const int64_t position = rows.position + count;
        const auto seen = selected_tokens(op.kName, op.selected, rows.first_row + count, position);
        if (static_cast<int64_t>(seen.size()) <= position) break;
    }
    return count;
}

}  // namespace

void CpuBackend::run_attention(AttentionRows rows) const {
    const AttentionKernel& kernel = exact_ ? kernels_.attention : kernels_.rounded_attention;
    const size_t floats = kernel.scratch(rows.keys, rows.parts, rows.values.columns, rows.rows);
    Scratch& scratch = thread_scratch();
    scratch.reset(Scratch::padded<float>(floats));
    rows.scratch = scratch.take<float>(floats);
    kernel.run(rows);
}

void CpuBackend::compute(const AppendKeyValue& op) {
    const float *keys = floats(op.keys), *values = floats(op.values);
    const int64_t head_dim = op.keys.columns / op.kv_heads, value_dim = op.values.columns / op.kv_heads;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.keys.rows)) {
        const KvPages& cache = segment.cache;
        const GroupedKvLayout layout(cache.format, cache.page_tokens, op.kv_heads, head_dim, value_dim);
        for_rows(segment.rows.count, 8 * op.keys.columns, [&](int64_t i) {
            const int64_t token = segment.rows.position + i, row = segment.rows.first_row + i;
            const auto page = static_cast<size_t>(token / cache.page_tokens);
            std::byte* base = cache.pages[page];
            for (int64_t head = 0; head < op.kv_heads; ++head) {
                const int64_t slot = token % cache.page_tokens;
                encode_kv_row(cache.format, keys + row * op.keys.row_stride + head * head_dim, head_dim,
                              base + layout.key(head, slot));
                encode_kv_row(cache.format, values + row * op.values.row_stride + head * value_dim, value_dim,
                              base + layout.value(head, slot));
            }
        });
    }
}

void CpuBackend::compute(const AppendLatent& op) {
    const float* latent = floats(op.latent);
    const float* rotary = op.rotary_key.buffer == nullptr ? nullptr : floats(op.rotary_key);
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.latent.rows)) {
        const KvPages& cache = segment.cache;
        const LatentKvLayout layout(cache.format, cache.page_tokens, op.latent.columns, op.rotary_key.columns);
        for_rows(segment.rows.count, 8 * op.latent.columns, [&](int64_t i) {
            const int64_t token = segment.rows.position + i, row = segment.rows.first_row + i;
            const auto page = static_cast<size_t>(token / cache.page_tokens);
            std::byte* base = cache.pages[page];
            const int64_t slot = token % cache.page_tokens;
            encode_kv_row(cache.format, latent + row * op.latent.row_stride, op.latent.columns,
                          base + layout.latent(slot));
            if (rotary == nullptr) return;
            encode_kv_row(cache.format, rotary + row * op.rotary_key.row_stride, op.rotary_key.columns,
                          base + layout.rotary_key(slot));
        });
    }
}

void CpuBackend::compute(const Attention& op) {
    const float* query = floats(op.query);
    const float* sinks = op.sinks.buffer == nullptr ? nullptr : floats(op.sinks);
    float* out = writable_floats(op.out);
    const int64_t head_dim = op.query.columns / op.heads, value_dim = op.out.columns / op.heads;
    const int64_t share = op.heads / op.kv_heads;
    const bool sees_all = op.window == 0 && op.chunk == 0;
    std::vector<KvSegment> segments = kv_segments(op.kName, op.sequences, op.cache, op.query.rows);
    for (KvSegment& segment : segments) {
        if (op.selected.buffer == nullptr) break;
        const int64_t whole = rows_that_see_all(op, segment.rows);
        if (whole < segment.rows.count) attend_selected(op, segment, whole);
        segment.rows.count = whole;
    }
    const std::vector<Block> blocks = cut(segments, op.heads, share, pool_.threads());
    for_tasks(blocks.size(), [&](size_t task) {
        const Block& block = blocks[task];
        const KvSegment& segment = segments[block.segment];
        const KvPages& cache = segment.cache;
        const GroupedKvLayout layout(cache.format, cache.page_tokens, op.kv_heads, head_dim, value_dim);
        const int64_t kv_head = block.first_head / share;
        const KvRows keys = {cache.format,     cache.pages.data(),     cache.page_tokens,
                             layout.key_bytes, layout.key(kv_head, 0), head_dim};
        const KvRows values = {cache.format,       cache.pages.data(),       cache.page_tokens,
                               layout.value_bytes, layout.value(kv_head, 0), value_dim};

        std::vector<const float*> queries;
        std::vector<float*> targets;
        std::vector<int64_t> visible, begin;
        std::vector<float> row_sinks;
        for (int64_t r = 0; r < block.rows(); ++r) {
            const int64_t row = segment.rows.first_row + block.token(r);
            const int64_t token = segment.rows.position + block.token(r);
            queries.push_back(query + row * op.query.row_stride + block.head(r) * head_dim);
            targets.push_back(out + row * op.out.row_stride + block.head(r) * value_dim);
            visible.push_back(token + 1);
            if (!sees_all) begin.push_back(op.first_seen(token));
            if (sinks != nullptr) row_sinks.push_back(sinks[block.head(r)]);
        }
        AttentionRows rows = {&keys,
                              {queries.data(), nullptr},
                              1,
                              values,
                              static_cast<int>(block.rows()),
                              visible.data(),
                              op.scale,
                              targets.data(),
                              nullptr};
        if (!sees_all) rows.begin = begin.data();
        if (sinks != nullptr) rows.sinks = row_sinks.data();
        run_attention(rows);
    });
}

void CpuBackend::compute(const LatentAttention& op) {
    in_latent_forms(op, [this](const auto& form) { compute(form); });
}

void CpuBackend::compute(const AttendLatents& op) {
    attend_latents(op, nullptr);
}

void CpuBackend::compute(const AccumulateLatentTile& op) {
    attend_latents({op, op.sum}, &op);
}

void CpuBackend::compute(const FinalizeLatentTiles& op) {
    const float *sum = floats(op.sum), *total = floats(op.total);
    float* out = writable_floats(op.out);
    const int64_t width = op.sum.columns / op.total.columns;
    for_rows(op.sum.rows, op.sum.columns, [&](int64_t row) {
        for (int64_t i = 0; i < op.sum.columns; ++i) {
            out[row * op.out.row_stride + i] =
                sum[row * op.sum.row_stride + i] / total[row * op.total.row_stride + i / width];
        }
    });
}

void CpuBackend::attend_latents(const AttendLatents& op, const AccumulateLatentTile* tile) {
    const float *folded = floats(op.folded), *query = floats(op.query);
    float* out = writable_floats(op.out);
    float* maximum = tile == nullptr ? nullptr : writable_floats(tile->maximum);
    float* total = tile == nullptr ? nullptr : writable_floats(tile->total);
    const int64_t width = op.folded.columns / op.heads, query_width = op.nope + op.rope;
    // All heads share the latents, but only so many rows go together.
    const int64_t share = std::min<int64_t>(op.heads, 32);
    const std::vector<Block> blocks = cut(op.segments, op.heads, share, pool_.threads());
    for_tasks(blocks.size(), [&](size_t task) {
        const Block& block = blocks[task];
        const KvSegment& segment = op.segments[block.segment];
        const KvPages& cache = segment.cache;
        const LatentKvLayout layout(cache.format, cache.page_tokens, width, op.rope);
        const KvRows latents = {cache.format,       cache.pages.data(), cache.page_tokens,
                                layout.token_bytes, layout.latent(0),   width};
        KvRows keys[2] = {latents, latents};
        keys[1].offset = layout.rotary_key(0);
        keys[1].columns = op.rope;

        std::vector<const float*> parts[2];
        std::vector<float*> targets, maxima, totals;
        std::vector<int64_t> visible;
        for (int64_t r = 0; r < block.rows(); ++r) {
            const int64_t row = segment.rows.first_row + block.token(r), head = block.head(r);
            parts[0].push_back(folded + row * op.folded.row_stride + head * width);
            parts[1].push_back(query + row * op.query.row_stride + head * query_width + op.nope);
            targets.push_back(out + row * op.out.row_stride + head * width);
            visible.push_back(segment.rows.position + block.token(r) + 1);
            if (tile == nullptr) continue;
            maxima.push_back(maximum + row * tile->maximum.row_stride + head);
            totals.push_back(total + row * tile->total.row_stride + head);
            visible.back() = std::min(visible.back(), tile->first_token + tile->tokens);
        }
        AttentionRows rows = {keys,
                              {parts[0].data(), parts[1].data()},
                              op.key_parts(),
                              latents,
                              static_cast<int>(block.rows()),
                              visible.data(),
                              op.scale,
                              targets.data(),
                              nullptr};
        if (tile != nullptr) {
            rows.first = tile->first_token;
            rows.maximum = maxima.data();
            rows.total = totals.data();
        }
        run_attention(rows);
    });
}

}  // namespace sluice
