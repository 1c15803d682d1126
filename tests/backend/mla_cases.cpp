#include <algorithm>
#include <cmath>

#include "backend/kv_layout.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/run_form.h"
#include "tests/backend/step_tables.h"

namespace sluice {

namespace {

PagedCache random_cache(CaseContext& context, const std::vector<SequenceRows>& sequences, KvFormat format,
                        int64_t kv_lora, int64_t rope, bool through_rows) {
    const int64_t page_tokens = context.pick_of({1, 16, 64});
    const LatentKvLayout layout(format, page_tokens, kv_lora, rope);
    CacheBuilder builder(format, page_tokens, layout.page_bytes());
    for (const SequenceRows& rows : sequences) {
        const int64_t tokens = rows.position + rows.count;
        const int64_t known = through_rows ? tokens : rows.position;
        std::vector<std::vector<std::byte>> pages;
        for (int64_t first = 0; first < tokens; first += page_tokens) {
            std::vector<std::byte>& page = pages.emplace_back(layout.page_bytes(), std::byte{0xff});
            for (int64_t token = 0; token < page_tokens && first + token < known; ++token) {
                encode_kv_row(format, context.normals(kv_lora).data(), kv_lora, page.data() + layout.latent(token));
                if (rope == 0) continue;
                encode_kv_row(format, context.normals(rope).data(), rope, page.data() + layout.rotary_key(token));
            }
        }
        builder.add(std::move(pages));
    }
    return builder.build(context.backend());
}

// The same for a form, which host backends alone have.
std::vector<KvSegment> random_segments(CaseContext& context, const std::vector<SequenceRows>& sequences,
                                       KvFormat format, int64_t kv_lora, int64_t rope) {
    const PagedCache cache = random_cache(context, sequences, format, kv_lora, rope, true);
    context.keep(cache.pool);
    return kv_segments("a form", sequences_of(context.backend(), sequences), cache, total_rows(sequences));
}

void append_latent(CaseContext& context, KvFormat format) {
    const auto sequences = context.sequences(50);
    const int64_t kv_lora = context.pick_of({1, 12, 64});
    const int64_t rope = context.pick_of({0, 2, 6, 32});
    const auto inputs = context.columns_of_one(total_rows(sequences), {kv_lora, rope});
    const AppendLatent op{.latent = inputs[0],
                          .rotary_key = rope == 0 ? Tensor{} : inputs[1],
                          .sequences = sequences_of(context.backend(), sequences),
                          .cache = random_cache(context, sequences, format, kv_lora, rope, false)};
    context.backend().run(op);
    const int64_t page_tokens = op.cache.page_tokens;
    const LatentKvLayout layout(format, page_tokens, kv_lora, rope);
    for (size_t s = 0; s < sequences.size(); ++s) {
        const int64_t tokens = sequences[s].position + sequences[s].count;
        const auto pages = read_pages(context.backend(), op.cache, s, tokens, layout.page_bytes());
        std::vector<float> latents, rotary_keys;
        for (int64_t p = 0; p < tokens; ++p) {
            const std::byte* page = pages[static_cast<size_t>(p / page_tokens)].data();
            std::vector<float> latent(static_cast<size_t>(kv_lora)), rotary_key(static_cast<size_t>(rope));
            decode_kv_row(format, page + layout.latent(p % page_tokens), kv_lora, latent.data());
            latents.insert(latents.end(), latent.begin(), latent.end());
            if (rope == 0) continue;
            decode_kv_row(format, page + layout.rotary_key(p % page_tokens), rope, rotary_key.data());
            rotary_keys.insert(rotary_keys.end(), rotary_key.begin(), rotary_key.end());
        }
        context.result(latents);
        if (rope > 0) context.result(rotary_keys);
    }
}

void attend_latents(CaseContext& context, KvFormat format, int64_t longest) {
    const auto sequences = context.sequences(longest);
    const int64_t heads = context.pick_of({1, 3, 5, 16});
    const int64_t kv_lora = context.pick_of({4, 33, 64});
    const int64_t nope = context.pick_of({1, 8});
    const int64_t rope = context.pick_of({2, 6, 32});
    const int64_t rows = total_rows(sequences);
    AttendLatents op{{.folded = context.random(rows, heads * kv_lora),
                      .query = context.random(rows, heads * (nope + rope)),
                      .heads = heads,
                      .nope = nope,
                      .rope = rope,
                      .scale = 1 / std::sqrt(static_cast<float>(kv_lora + rope)),
                      .segments = {}},
                     context.output(rows, heads * kv_lora)};
    op.segments = random_segments(context, sequences, format, kv_lora, rope);
    run_form(context.backend(), op);
    context.result(op.out);
}

// What the model does with the parts: each is used in place, and nothing reaches over into the other.
void split_projection(CaseContext& context) {
    const int64_t rows = context.pick_of({1, 2, 9});
    const int64_t kv_lora = context.pick_of({5, 64}), rope = context.pick_of({2, 32});
    const Tensor fused = context.random(rows, kv_lora + rope);
    const Tensor latent = fused.columns_at(0, kv_lora), rotary_key = fused.columns_at(kv_lora, rope);
    std::vector<int32_t> positions;
    for (int64_t row = 0; row < rows; ++row) positions.push_back(static_cast<int32_t>(3 * row));
    context.backend().run(RmsNorm{.x = latent, .weight = context.random(1, kv_lora), .epsilon = 1e-6f, .out = latent});
    context.backend().run(Rotary{.x = rotary_key,
                                 .positions = context.integers(positions),
                                 .frequencies = context.random(1, rope / 2),
                                 .head_dim = rope,
                                 .interleaved = true});
    context.result(fused);
}

// A cache in tiles of `tile` tokens, the state between them included.
void latent_tiles(CaseContext& context, KvFormat format) {
    const auto sequences = context.sequences(300);
    const int64_t heads = context.pick_of({1, 3, 16});
    const int64_t kv_lora = context.pick_of({4, 33, 64}), nope = context.pick_of({1, 8});
    const int64_t rope = context.pick_of({2, 6, 32}), rows = total_rows(sequences);
    AccumulateLatentTile op{{.folded = context.random(rows, heads * kv_lora),
                             .query = context.random(rows, heads * (nope + rope)),
                             .heads = heads,
                             .nope = nope,
                             .rope = rope,
                             .scale = 1 / std::sqrt(static_cast<float>(kv_lora + rope)),
                             .segments = {}},
                            0,
                            context.pick_of({1, 16, 64, 100, 4096}),
                            context.output(rows, heads),
                            context.output(rows, heads),
                            context.output(rows, heads * kv_lora)};
    int64_t longest = 0;
    for (const SequenceRows& part : sequences) longest = std::max(longest, part.position + part.count);
    op.segments = random_segments(context, sequences, format, kv_lora, rope);
    for (; op.first_token < longest; op.first_token += op.tokens) run_form(context.backend(), op);
    context.result(op.total);
    context.result(op.sum);
}

void finalize_tiles(CaseContext& context) {
    const int64_t rows = context.pick_of({1, 2, 40}), heads = context.pick_of({1, 3, 16});
    const int64_t kv_lora = context.pick_of({1, 33, 64});
    std::vector<float> totals = context.normals(rows * heads);
    for (float& total : totals) total = 1 + std::abs(total);
    const Tensor sum = context.random(rows, heads * kv_lora);
    const Tensor out = context.flip() ? sum : context.output(rows, heads * kv_lora);
    run_form(context.backend(),
             FinalizeLatentTiles{.sum = sum, .total = context.filled(totals, rows, heads), .out = out});
    context.result(out);
}

void fold_query(CaseContext& context, const WeightFormat& format, bool transposed) {
    const int64_t rows = context.pick_of({1, 2, 9, 40});
    const int64_t heads = context.pick_of({1, 3, 5});
    const int64_t nope = transposed ? context.pick_of({1, 7, 16}) : columns_for(format, context.pick(1, 2));
    const int64_t rope = context.pick_of({2, 8});
    const int64_t value = context.pick_of({1, 6, 16});
    const int64_t kv_lora = transposed ? columns_for(format, context.pick(1, 2)) : context.pick_of({5, 32});
    const Tensor query = context.random(rows, heads * (nope + rope));
    const Tensor out = context.output(rows, heads * kv_lora);
    run_form(context.backend(), FoldQuery{.query = query,
                                          .key = transposed ? context.weight(format, heads * (nope + value), kv_lora)
                                                            : context.weight(format, heads * kv_lora, nope),
                                          .transposed = transposed,
                                          .heads = heads,
                                          .nope = nope,
                                          .rope = rope,
                                          .value = value,
                                          .out = out});
    context.result(out);
}

void project_value(CaseContext& context, const WeightFormat& format) {
    const int64_t rows = context.pick_of({1, 2, 9, 40});
    const int64_t heads = context.pick_of({1, 3, 5});
    const int64_t nope = context.pick_of({0, 5, 16});
    const int64_t value = context.pick_of({1, 6, 16});
    const int64_t kv_lora = columns_for(format, context.pick(1, 3));
    const Tensor latent = context.random(rows, heads * kv_lora);
    const Tensor out = context.output(rows, heads * value);
    run_form(context.backend(), ProjectValue{.latent = latent,
                                             .value_weight = context.weight(format, heads * (nope + value), kv_lora),
                                             .heads = heads,
                                             .nope = nope,
                                             .value = value,
                                             .out = out});
    context.result(out);
}

struct LatentSizes {
    int64_t heads, nope, rope, value, kv_lora;
};

LatentSizes small_sizes(CaseContext& context, const WeightFormat& format, bool transposed) {
    return {.heads = context.pick_of({1, 3, 5}),
            .nope = transposed ? context.pick_of({1, 7, 16}) : columns_for(format, 1),
            .rope = context.pick_of({2, 6, 32}),
            .value = context.pick_of({1, 6, 16}),
            .kv_lora = columns_for(format, context.pick(1, 2))};
}

LatentAttention whole_attention(CaseContext& context, const WeightFormat& format, KvFormat kv_format, bool transposed,
                                const std::vector<SequenceRows>& sequences, const LatentSizes& sizes) {
    const auto [heads, nope, rope, value, kv_lora] = sizes;
    const int64_t rows = total_rows(sequences);
    const Weight whole = context.weight(format, heads * (nope + value), kv_lora);
    LatentAttention op{.query = context.random(rows, heads * (nope + rope)),
                       .key = transposed ? whole : context.weight(format, heads * kv_lora, nope),
                       .value_weight = transposed ? whole : context.weight(format, heads * value, kv_lora),
                       .transposed = transposed,
                       .heads = heads,
                       .nope = nope,
                       .rope = rope,
                       .value = value,
                       .scale = 1 / std::sqrt(static_cast<float>(nope + rope)),
                       .sequences = sequences_of(context.backend(), sequences),
                       .cache = {},
                       .scratch = context.output(rows, LatentAttention::scratch_columns(heads, kv_lora)),
                       .out = context.output(rows, heads * value)};
    op.cache = random_cache(context, sequences, kv_format, kv_lora, rope, true);
    return op;
}

void latent_attention(CaseContext& context, const WeightFormat& format, KvFormat kv_format, bool transposed) {
    const auto sequences = context.sequences(300);
    const LatentSizes sizes = small_sizes(context, format, transposed);
    const LatentAttention op = whole_attention(context, format, kv_format, transposed, sequences, sizes);
    context.backend().run(op);
    context.result(op.out);
}

void bare_latent_attention(CaseContext& context, KvFormat kv_format) {
    const WeightFormat format = WeightFormat::floating(DType::kF32);
    const auto sequences = context.sequences(300);
    LatentSizes sizes = small_sizes(context, format, true);
    sizes.rope = 0;
    const LatentAttention op = whole_attention(context, format, kv_format, true, sequences, sizes);
    context.backend().run(op);
    context.result(op.out);
}

// As wide as DeepSeek's, with fewer heads.
void wide_latent_attention(CaseContext& context, const WeightFormat& format) {
    const auto sequences = context.sequences(300);
    const LatentSizes sizes{
        .heads = context.pick_of({1, 5, 16, 70}), .nope = 16, .rope = 64, .value = 16, .kv_lora = 512};
    const LatentAttention op = whole_attention(context, format, KvFormat::kBF16, true, sequences, sizes);
    context.backend().run(op);
    context.result(op.out);
}

// Of one sequence, rows enough that keys and values are expanded for them.
void latent_prompt(CaseContext& context, const WeightFormat& format) {
    const bool wide = context.flip();
    const LatentSizes sizes{.heads = context.pick_of({2, 3}),
                            .nope = wide ? 192 : 128,
                            .rope = 64,
                            .value = wide ? 256 : 128,
                            .kv_lora = 256};
    const std::vector<SequenceRows> sequences{{0, context.pick_of({65, 130, 192}), context.pick_of({0, 0, 70})}};
    const LatentAttention op = whole_attention(context, format, KvFormat::kBF16, true, sequences, sizes);
    context.backend().run(op);
    context.result(op.out);
}

void expanded_attention(CaseContext& context, const WeightFormat& format, KvFormat kv_format, bool transposed) {
    const auto sequences = context.sequences(300);
    const LatentSizes sizes = small_sizes(context, format, transposed);
    const LatentAttention op = whole_attention(context, format, kv_format, transposed, sequences, sizes);
    run_form(context.backend(),
             ExpandedLatentAttention{op, kv_segments(op.kName, op.sequences, op.cache, op.query.rows)});
    context.result(op.out);
}

}  // namespace

std::vector<OpCase> mla_cases() {
    std::vector<OpCase> cases;
    for (const KvFormat format : kAllKvFormats) {
        cases.push_back({"AppendLatent, " + std::string(kv_format_name(format)), Rounding::kNone,
                         [format](CaseContext& context) { append_latent(context, format); }});
    }
    cases.push_back({"Parts of a latent projection", Rounding::kNone, split_projection});
    for (const KvFormat format : kAllKvFormats) {
        cases.push_back({"LatentAttention, nothing rotated, " + std::string(kv_format_name(format)), Rounding::kBf16,
                         [format](CaseContext& context) { bare_latent_attention(context, format); }});
    }
    for (const WeightFormat& format : all_weight_formats()) {
        for (const bool transposed : {true, false}) {
            cases.push_back({"LatentAttention, " + format.describe() + (transposed ? ", kv_b_proj" : ", split"),
                             std::max(Rounding::kBf16, rounding_of(format)), [=](CaseContext& context) {
                                 latent_attention(context, format, KvFormat::kBF16, transposed);
                             }});
        }
    }
    for (const WeightFormat& format :
         {WeightFormat::affine(4, 64, DType::kBF16), WeightFormat::affine(8, 32, DType::kF32),
          WeightFormat::floating(DType::kBF16), WeightFormat::fp8_block(16, 32)}) {
        cases.push_back({"LatentAttention, wide, " + format.describe(), std::max(Rounding::kBf16, rounding_of(format)),
                         [=](CaseContext& context) { wide_latent_attention(context, format); }});
    }
    for (const WeightFormat& format :
         {WeightFormat::affine(4, 64, DType::kBF16), WeightFormat::floating(DType::kBF16)}) {
        cases.push_back({"LatentAttention, prompt, " + format.describe(),
                         std::max(Rounding::kBf16, rounding_of(format)),
                         [=](CaseContext& context) { latent_prompt(context, format); }});
    }
    return cases;
}

std::vector<OpCase> latent_form_cases() {
    std::vector<OpCase> cases;
    for (const KvFormat format : kAllKvFormats) {
        const std::string name(kv_format_name(format));
        cases.push_back({"AttendLatents, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { attend_latents(context, format, 100); }});
        cases.push_back({"AttendLatents over a long cache, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { attend_latents(context, format, 1500); }});
        cases.push_back({"AccumulateLatentTile, " + name, Rounding::kBf16,
                         [format](CaseContext& context) { latent_tiles(context, format); }});
    }
    cases.push_back({"FinalizeLatentTiles", Rounding::kNone, finalize_tiles});
    for (const WeightFormat& format : all_weight_formats()) {
        const std::string name = format.describe();
        const Rounding rounding = rounding_of(format);
        cases.push_back({"FoldQuery, transposed, " + name, rounding,
                         [format](CaseContext& context) { fold_query(context, format, true); }});
        cases.push_back(
            {"FoldQuery, " + name, rounding, [format](CaseContext& context) { fold_query(context, format, false); }});
        for (const bool transposed : {true, false}) {
            cases.push_back({"ExpandedLatentAttention, " + name + (transposed ? ", kv_b_proj" : ", split"),
                             Rounding::kBf16, [format, transposed](CaseContext& context) {
                                 expanded_attention(context, format, KvFormat::kBF16, transposed);
                             }});
        }
        cases.push_back(
            {"ProjectValue, " + name, rounding, [format](CaseContext& context) { project_value(context, format); }});
    }
    return cases;
}

}  // namespace sluice
