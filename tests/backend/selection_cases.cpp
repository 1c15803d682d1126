// Sparse attention: the cache of index keys, the choice of tokens, and what rests on it.

#include <algorithm>
#include <cmath>

#include "backend/kv_layout.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

// Filled up to the end of each sequence, or only as far as the step's own rows.
PagedCache row_cache(CaseContext& context, const std::vector<SequenceRows>& sequences, KvFormat format, int64_t width,
                     int64_t ratio, bool whole) {
    const int64_t runs_of_page = context.pick_of({1, 16, 64}), page_tokens = runs_of_page * ratio;
    const RowKvLayout layout(format, runs_of_page, width);
    CacheBuilder builder(format, page_tokens, layout.page_bytes());
    for (const SequenceRows& rows : sequences) {
        const int64_t tokens = rows.position + rows.count, known = whole ? tokens : rows.position;
        std::vector<std::vector<std::byte>> pages;
        for (int64_t first = 0; first < tokens; first += page_tokens) {
            std::vector<std::byte>& page = pages.emplace_back(layout.page_bytes(), std::byte{0xff});
            for (int64_t run = 0; run < runs_of_page && first + (run + 1) * ratio <= known; ++run) {
                encode_kv_row(format, context.normals(width).data(), width, page.data() + layout.row(run));
            }
        }
        builder.add(std::move(pages));
    }
    return builder.build(context.backend());
}

void append_rows(CaseContext& context, KvFormat format) {
    const auto sequences = context.sequences(50);
    const int64_t width = context.pick_of({1, 12, 64, 128}), ratio = context.pick_of({1, 1, 4, 16});
    const AppendRows op{.rows = context.random(total_rows(sequences), width),
                        .ratio = ratio,
                        .sequences = sequences_of(context.backend(), sequences),
                        .cache = row_cache(context, sequences, format, width, ratio, false)};
    context.backend().run(op);
    const int64_t runs_of_page = op.cache.page_tokens / ratio;
    const RowKvLayout layout(format, runs_of_page, width);
    for (size_t s = 0; s < sequences.size(); ++s) {
        const int64_t tokens = sequences[s].position + sequences[s].count;
        const auto pages = read_pages(context.backend(), op.cache, s, tokens, layout.page_bytes());
        std::vector<float> rows(static_cast<size_t>(tokens / ratio * width));
        for (int64_t run = 0; run < tokens / ratio; ++run) {
            const std::byte* page = pages[static_cast<size_t>(run / runs_of_page)].data();
            decode_kv_row(format, page + layout.row(run % runs_of_page), width, rows.data() + run * width);
        }
        context.result(rows);
    }
}

void select_tokens(CaseContext& context, KvFormat format, int64_t longest) {
    const auto sequences = context.sequences(longest);
    const int64_t heads = context.pick_of({1, 4, 16}), width = context.pick_of({4, 33, 128});
    const int64_t rows = total_rows(sequences), ratio = context.pick_of({1, 1, 4, 16});
    const int64_t room = context.pick_of({1, 2, 17, 64});
    const bool as_tokens = context.flip();
    const int64_t columns = as_tokens ? room * ratio + ratio - 1 : room;
    const SelectTokens op{.query = context.random(rows, heads * width),
                          .weights = context.flip() ? context.random(rows, heads) : Tensor{},
                          .heads = heads,
                          .ratio = ratio,
                          .as_tokens = as_tokens,
                          .sequences = sequences_of(context.backend(), sequences),
                          .cache = row_cache(context, sequences, format, width, ratio, true),
                          .out = context.output(rows, columns, DType::kI32)};
    context.backend().run(op);
    context.result(op.out);
}

// Wide: as DeepSeek's.
void selected_attention(CaseContext& context, KvFormat format, bool wide) {
    const auto sequences = context.sequences(300);
    const int64_t heads = context.pick_of({1, 3, wide ? 70 : 40}), nope = context.pick_of({1, 16}),
                  value = context.pick_of({1, 6});
    const int64_t rope = wide ? 64 : context.pick_of({0, 2, 32}), kv_lora = wide ? 512 : context.pick_of({8, 33, 64}),
                  rows = total_rows(sequences);
    const int64_t room = context.pick_of({1, 5, wide ? 200 : 40});
    const Weight whole = context.weight(WeightFormat::floating(DType::kF32), heads * (nope + value), kv_lora);
    const PagedCache cache = [&] {
        const LatentKvLayout layout(format, 16, kv_lora, rope);
        CacheBuilder builder(format, 16, layout.page_bytes());
        for (const SequenceRows& each : sequences) {
            std::vector<std::vector<std::byte>> pages;
            for (int64_t first = 0; first < each.position + each.count; first += 16) {
                std::vector<std::byte>& page = pages.emplace_back(layout.page_bytes());
                for (int64_t token = 0; token < 16; ++token) {
                    encode_kv_row(format, context.normals(kv_lora).data(), kv_lora, page.data() + layout.latent(token));
                    if (rope == 0) continue;
                    encode_kv_row(format, context.normals(rope).data(), rope, page.data() + layout.rotary_key(token));
                }
            }
            builder.add(std::move(pages));
        }
        return builder.build(context.backend());
    }();
    const LatentAttention op{.query = context.random(rows, heads * (nope + rope)),
                             .key = whole,
                             .value_weight = whole,
                             .heads = heads,
                             .nope = nope,
                             .rope = rope,
                             .value = value,
                             .scale = 1 / std::sqrt(static_cast<float>(nope + rope)),
                             .sequences = sequences_of(context.backend(), sequences),
                             .cache = cache,
                             .selected = int_table(context.backend(), random_selection(context, sequences, room), room),
                             .scratch = context.output(rows, LatentAttention::scratch_columns(heads, kv_lora)),
                             .out = context.output(rows, heads * value)};
    context.backend().run(op);
    context.result(op.out);
}

// Of the runs that are complete at each row some, or none.
std::vector<int32_t> random_runs(CaseContext& context, const std::vector<SequenceRows>& sequences, int64_t ratio,
                                 int64_t room) {
    std::vector<int32_t> result;
    for (const SequenceRows& rows : sequences) {
        for (int64_t position = rows.position; position < rows.position + rows.count; ++position) {
            std::vector<int32_t> runs;
            for (int64_t run = context.pick(0, 2); run < (position + 1) / ratio; run += context.pick(1, 3)) {
                if (static_cast<int64_t>(runs.size()) < room) runs.push_back(static_cast<int32_t>(run));
            }
            runs.resize(static_cast<size_t>(room), kNoToken);
            result.insert(result.end(), runs.begin(), runs.end());
        }
    }
    return result;
}

void shared_key_attention(CaseContext& context, KvFormat format) {
    const auto sequences = context.sequences(90);
    const int64_t heads = context.pick_of({1, 3, 40}), width = context.pick_of({4, 32, 32, 72, 512});
    const int64_t window = context.pick_of({1, 8, 128}), ratio = context.pick_of({0, 4, 16});
    const int64_t rows = total_rows(sequences), room = context.pick_of({1, 5, 40});
    std::vector<std::vector<float>> states;
    for (size_t s = 0; s < sequences.size(); ++s) states.push_back(context.normals(window * width));
    const bool choose = ratio != 0 && context.flip();
    const SharedKeyAttention op{
        .query = context.random(rows, heads * width),
        .heads = heads,
        .scale = 1 / std::sqrt(static_cast<float>(width)),
        .keys = context.random(rows, width),
        .sinks = context.flip() ? context.random(1, heads) : Tensor{},
        .ratio = ratio,
        .runs = choose ? int_table(context.backend(), random_runs(context, sequences, ratio, room), room) : Tensor{},
        .sequences = sequences_of(context.backend(), sequences),
        .states = states_of(context.backend(), states, window, width),
        .cache = ratio == 0 ? PagedCache{} : row_cache(context, sequences, format, width, ratio, true),
        .out = context.output(rows, heads * width)};
    context.backend().run(op);
    context.result(op.out);
    for (size_t s = 0; s < sequences.size(); ++s) context.result(read_state(context.backend(), op.states, s));
}

}  // namespace

std::vector<OpCase> selection_cases() {
    std::vector<OpCase> cases;
    for (const KvFormat format : kAllKvFormats) {
        const std::string name(kv_format_name(format));
        cases.push_back(
            {"AppendRows, " + name, Rounding::kNone, [format](CaseContext& context) { append_rows(context, format); }});
        cases.push_back({"LatentAttention over a selection, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { selected_attention(context, format, false); }});
        cases.push_back({"SharedKeyAttention, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { shared_key_attention(context, format); }});
    }
    cases.push_back({"LatentAttention over a selection, wide", Rounding::kBf16,
                     [](CaseContext& context) { selected_attention(context, KvFormat::kBF16, true); }});
    cases.push_back(
        {"SelectTokens", Rounding::kNone, [](CaseContext& context) { select_tokens(context, KvFormat::kF32, 100); }});
    cases.push_back({"SelectTokens of many, bf16", Rounding::kNone,
                     [](CaseContext& context) { select_tokens(context, KvFormat::kBF16, 1200); }});
    return cases;
}

}  // namespace sluice
