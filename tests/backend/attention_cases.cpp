#include <cmath>
#include <numeric>

#include "backend/kv_layout.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

// Of a head.
struct HeadSizes {
    int64_t key, value;
};

// Caches whose tokens before the sequences' rows, and with `through_rows` those of the rows, are random; what lies
// behind them is left as garbage that must not be read.
PagedCache random_cache(CaseContext& context, const std::vector<SequenceRows>& sequences, KvFormat format,
                        int64_t kv_heads, const HeadSizes& sizes, bool through_rows,
                        const std::vector<int64_t>& page_sizes = {1, 4, 16, 64}) {
    const int64_t page_tokens = context.pick_of(page_sizes);
    const GroupedKvLayout layout(format, page_tokens, kv_heads, sizes.key, sizes.value);
    CacheBuilder builder(format, page_tokens, layout.page_bytes());
    for (const SequenceRows& rows : sequences) {
        const int64_t tokens = rows.position + rows.count;
        const int64_t known = through_rows ? tokens : rows.position;
        std::vector<std::vector<std::byte>> pages;
        for (int64_t first = 0; first < tokens; first += page_tokens) {
            std::vector<std::byte>& page = pages.emplace_back(layout.page_bytes(), std::byte{0xff});
            for (int64_t token = 0; token < page_tokens && first + token < known; ++token) {
                for (int64_t h = 0; h < kv_heads; ++h) {
                    const auto encode = [&](uint64_t at, int64_t size) {
                        encode_kv_row(format, context.normals(size).data(), size, page.data() + at);
                    };
                    encode(layout.key(h, token), sizes.key);
                    encode(layout.value(h, token), sizes.value);
                }
            }
        }
        builder.add(std::move(pages));
    }
    return builder.build(context.backend());
}

void append(CaseContext& context, KvFormat format) {
    const auto sequences = context.sequences(50);
    const int64_t kv_heads = context.pick(1, 3);
    const int64_t head_dim = context.pick_of({1, 5, 16, 64});
    const HeadSizes sizes{head_dim, context.flip() ? head_dim : context.pick_of({3, 16, 32})};
    const auto inputs = context.columns_of_one(total_rows(sequences), {kv_heads * sizes.key, kv_heads * sizes.value});
    const AppendKeyValue op{.keys = inputs[0],
                            .values = inputs[1],
                            .kv_heads = kv_heads,
                            .sequences = sequences_of(context.backend(), sequences),
                            .cache = random_cache(context, sequences, format, kv_heads, sizes, false)};
    context.backend().run(op);
    const int64_t page_tokens = op.cache.page_tokens;
    const GroupedKvLayout layout(format, page_tokens, kv_heads, sizes.key, sizes.value);
    for (size_t s = 0; s < sequences.size(); ++s) {
        const int64_t tokens = sequences[s].position + sequences[s].count;
        const auto pages = read_pages(context.backend(), op.cache, s, tokens, layout.page_bytes());
        std::vector<float> values;
        for (int64_t p = 0; p < tokens; ++p) {
            const std::byte* page = pages[static_cast<size_t>(p / page_tokens)].data();
            const auto decode = [&](uint64_t at, int64_t size) {
                std::vector<float> row(static_cast<size_t>(size));
                decode_kv_row(format, page + at, size, row.data());
                values.insert(values.end(), row.begin(), row.end());
            };
            for (int64_t h = 0; h < kv_heads; ++h) {
                decode(layout.key(h, p % page_tokens), sizes.key);
                decode(layout.value(h, p % page_tokens), sizes.value);
            }
        }
        context.result(values);
    }
}

// What a token may see less of, and sinks.
enum class Seen : uint8_t { kAll, kWindow, kChunk, kSelected };

// The first rows of a sequence often see all.
Tensor selection(CaseContext& context, const std::vector<SequenceRows>& sequences) {
    const int64_t room = context.pick_of({1, 5, 40, 200});
    std::vector<int32_t> selected = random_selection(context, sequences, room);
    for (const SequenceRows& rows : sequences) {
        for (int64_t i = 0; i < rows.count && rows.position + i < room && context.pick(0, 5) > 0; ++i) {
            int32_t* row = selected.data() + (rows.first_row + i) * room;
            std::iota(row, row + rows.position + i + 1, 0);
        }
    }
    return int_table(context.backend(), selected, room);
}

struct AttendForm {
    int64_t longest;
    Seen seen = Seen::kAll;
    bool tiles = false;  // heads and pages as kernels of tiles have them
};

void attend(CaseContext& context, KvFormat format, const AttendForm& form) {
    const auto sequences = context.sequences(form.longest);
    const Seen seen = form.seen;
    const int64_t kv_heads = context.pick(1, 3);
    const int64_t heads = kv_heads * context.pick_of({1, 2, 5, 8});
    const int64_t head_dim =
        form.tiles ? context.pick_of({64, 128, 192, 256}) : context.pick_of({1, 7, 16, 64, 128, 256});
    const bool equal = form.tiles ? head_dim != 192 : context.flip();
    const HeadSizes sizes{head_dim, equal ? head_dim : form.tiles ? 128 : context.pick_of({1, 16, 24, 128})};
    const std::vector<int64_t> pages =
        form.tiles ? std::vector<int64_t>{16, 48, 256} : std::vector<int64_t>{1, 4, 16, 64};
    const int64_t rows = total_rows(sequences);
    const Tensor query = context.random(rows, heads * sizes.key);
    const Tensor out = context.output(rows, heads * sizes.value);
    context.backend().run(Attention{.query = query,
                                    .heads = heads,
                                    .kv_heads = kv_heads,
                                    .scale = 1 / std::sqrt(static_cast<float>(head_dim)),
                                    .window = seen == Seen::kWindow ? context.pick_of({0, 1, 17, 64, 128}) : 0,
                                    .chunk = seen == Seen::kChunk ? context.pick_of({1, 17, 64, 200}) : 0,
                                    .sinks = seen == Seen::kWindow ? context.random(1, heads, 3) : Tensor{},
                                    .selected = seen == Seen::kSelected ? selection(context, sequences) : Tensor{},
                                    .sequences = sequences_of(context.backend(), sequences),
                                    .cache = random_cache(context, sequences, format, kv_heads, sizes, true, pages),
                                    .out = out});
    context.result(out);
}

}  // namespace

void attend_in_company(CaseContext& context, KvFormat format) {
    constexpr int64_t kKvHeads = 2, kHeads = 8, kHead = 64;
    const std::vector<SequenceRows> sequences{{0, 1, 900}, {1, 33, 100}, {34, 4, 300}};
    const Tensor query = context.random(total_rows(sequences), kHeads * kHead);
    const Tensor together = context.output(query.rows, query.columns);
    const Tensor apart = context.output(query.rows, query.columns);
    Attention op{.query = query,
                 .heads = kHeads,
                 .kv_heads = kKvHeads,
                 .scale = 0.125f,
                 .sequences = sequences_of(context.backend(), sequences),
                 .cache = random_cache(context, sequences, format, kKvHeads, {kHead, kHead}, true, {16}),
                 .out = together};
    context.backend().run(op);
    const Tensor pages = op.cache.pages;
    for (const size_t s : {0, 2}) {
        const SequenceRows& rows = sequences[s];
        op.query = query.rows_at(rows.first_row, rows.count);
        op.sequences = sequences_of(context.backend(), {{0, rows.count, rows.position}});
        op.cache.pages = pages.rows_at(static_cast<int64_t>(s), 1);
        op.out = apart.rows_at(rows.first_row, rows.count);
        context.backend().run(op);
        context.result(together.rows_at(rows.first_row, rows.count));
        context.result(op.out);
    }
}

std::vector<OpCase> attention_cases() {
    std::vector<OpCase> cases;
    for (const KvFormat format : kAllKvFormats) {
        const std::string name(kv_format_name(format));
        cases.push_back(
            {"AppendKeyValue, " + name, Rounding::kNone, [format](CaseContext& context) { append(context, format); }});
        cases.push_back({"Attention, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { attend(context, format, {100}); }});
        cases.push_back({"Attention over a long cache, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { attend(context, format, {1500}); }});
        cases.push_back({"Attention with window and sinks, " + name, Rounding::kBf16, [format](CaseContext& context) {
                             attend(context, format, {700, Seen::kWindow});
                         }});
        cases.push_back({"Attention in chunks, " + name, Rounding::kBf16, [format](CaseContext& context) {
                             attend(context, format, {700, Seen::kChunk});
                         }});
        for (const Seen seen : {Seen::kAll, Seen::kWindow, Seen::kChunk}) {
            cases.push_back({"Attention in tiles, " + name + ", form " + std::to_string(static_cast<int>(seen)),
                             Rounding::kBf16, [format, seen](CaseContext& context) {
                                 attend(context, format, {700, seen, true});
                             }});
        }
        cases.push_back({"Attention over a selection, " + name, Rounding::kBf16, [format](CaseContext& context) {
                             attend(context, format, {300, Seen::kSelected});
                         }});
    }
    return cases;
}

}  // namespace sluice
