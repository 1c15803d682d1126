#include <cmath>

#include "backend/kv_layout.h"
#include "tests/backend/op_cases.h"

namespace sluice {

namespace {

// A cache whose tokens before the segment's rows, and with `through_rows` those of the rows, are random; what lies
// behind them is left as garbage that must not be read.
KvSegment random_cache(CaseContext& context, const SequenceRows& rows, KvFormat format, int64_t kv_heads,
                       int64_t head_dim, bool through_rows) {
    KvSegment segment{.rows = rows,
                      .cache = {.format = format, .page_tokens = context.pick_of({1, 4, 16, 64}), .pages = {}}};
    const int64_t page_tokens = segment.cache.page_tokens;
    const GroupedKvLayout layout(format, page_tokens, kv_heads, head_dim);
    const int64_t tokens = rows.position + rows.count;
    const int64_t known = through_rows ? tokens : rows.position;
    for (int64_t first = 0; first < tokens; first += page_tokens) {
        std::vector<std::byte> page(layout.page_bytes(), std::byte{0xff});
        for (int64_t token = 0; token < page_tokens && first + token < known; ++token) {
            for (int64_t h = 0; h < kv_heads; ++h) {
                encode_kv_row(format, context.normals(head_dim).data(), head_dim, page.data() + layout.key(h, token));
                encode_kv_row(format, context.normals(head_dim).data(), head_dim, page.data() + layout.value(h, token));
            }
        }
        segment.cache.pages.push_back(context.bytes(page));
    }
    return segment;
}

void append(CaseContext& context, KvFormat format) {
    const auto sequences = context.sequences(50);
    const int64_t kv_heads = context.pick(1, 3);
    const int64_t head_dim = context.pick_of({1, 5, 16, 64});
    const auto inputs = context.columns_of_one(total_rows(sequences), {kv_heads * head_dim, kv_heads * head_dim});
    AppendKeyValue op{.keys = inputs[0], .values = inputs[1], .kv_heads = kv_heads, .segments = {}};
    for (const SequenceRows& rows : sequences) {
        op.segments.push_back(random_cache(context, rows, format, kv_heads, head_dim, false));
    }
    context.backend().run(op);
    for (const KvSegment& segment : op.segments) {
        const GroupedKvLayout layout(format, segment.cache.page_tokens, kv_heads, head_dim);
        std::vector<float> values;
        for (int64_t p = 0; p < segment.rows.position + segment.rows.count; ++p) {
            const int64_t token = p % segment.cache.page_tokens;
            const auto page = context.download(segment.cache.pages[static_cast<size_t>(p / segment.cache.page_tokens)]);
            for (int64_t h = 0; h < 2 * kv_heads; ++h) {
                std::vector<float> row(static_cast<size_t>(head_dim));
                decode_kv_row(format, page.data() + layout.key(h, token), head_dim, row.data());
                values.insert(values.end(), row.begin(), row.end());
            }
        }
        context.result(values);
    }
}

void attend(CaseContext& context, KvFormat format, int64_t longest) {
    const auto sequences = context.sequences(longest);
    const int64_t kv_heads = context.pick(1, 3);
    const int64_t heads = kv_heads * context.pick_of({1, 2, 5, 8});
    const int64_t head_dim = context.pick_of({1, 7, 16, 64, 128, 256});
    const int64_t rows = total_rows(sequences);
    const Tensor query = context.random(rows, heads * head_dim);
    const Tensor out = context.output(rows, heads * head_dim);
    Attention op{.query = query,
                 .heads = heads,
                 .kv_heads = kv_heads,
                 .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
                 .segments = {},
                 .out = out};
    for (const SequenceRows& part : sequences) {
        op.segments.push_back(random_cache(context, part, format, kv_heads, head_dim, true));
    }
    context.backend().run(op);
    context.result(out);
}

}  // namespace

std::vector<OpCase> attention_cases() {
    std::vector<OpCase> cases;
    for (const KvFormat format : kAllKvFormats) {
        const std::string name(kv_format_name(format));
        cases.push_back(
            {"AppendKeyValue, " + name, Rounding::kNone, [format](CaseContext& context) { append(context, format); }});
        cases.push_back(
            {"Attention, " + name, Rounding::kBf16, [format](CaseContext& context) { attend(context, format, 100); }});
        cases.push_back({"Attention over a long cache, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { attend(context, format, 1500); }});
    }
    return cases;
}

}  // namespace sluice
