// Multi-head latent attention in its forms; naive_mla.h has the one that defines it.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "backend/host_sequences.h"
#include "backend/kv_layout.h"
#include "backend/reference/math.h"
#include "backend/reference/naive_mla.h"
#include "backend/reference/operations.h"

namespace sluice::reference {

void compute(const AppendLatent& op) {
    const auto latent = rows_of(op.latent);
    const auto rotary_key = op.rotary_key.buffer == nullptr ? Rows<const float>{} : rows_of(op.rotary_key);
    const int64_t kv_lora = op.latent.columns;
    const int64_t rope = op.rotary_key.columns;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.latent.rows)) {
        const KvPages& cache = segment.cache;
        const LatentKvLayout layout(cache.format, cache.page_tokens, kv_lora, rope);
        for (int64_t i = 0; i < segment.rows.count; ++i) {
            const int64_t position = segment.rows.position + i;
            const int64_t token = position % cache.page_tokens;
            std::byte* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
            const int64_t row = segment.rows.first_row + i;
            encode_kv_row(cache.format, latent[row], kv_lora, page + layout.latent(token));
            if (rope > 0) encode_kv_row(cache.format, rotary_key[row], rope, page + layout.rotary_key(token));
        }
    }
}

void compute(const LatentAttention& op) {
    in_latent_forms(op, [](const auto& form) { compute(form); });
}

void compute(const FoldQuery& op) {
    const auto query = rows_of(op.query);
    const auto out = writable_rows_of(op.out);
    const WeightView key = view(op.key);
    const int64_t kv_lora = op.out.columns / op.heads;
    std::vector<float> row(static_cast<size_t>(key.columns));
    std::vector<double> folded(static_cast<size_t>(op.out.rows * kv_lora));
    for (int64_t h = 0; h < op.heads; ++h) {
        std::fill(folded.begin(), folded.end(), 0.0);
        // Row r of the head's matrix is W_K[r, :] when transposed, else W_K[:, r].
        const int64_t rows = op.transposed ? op.nope : kv_lora;
        const int64_t first_row = h * (op.transposed ? op.nope + op.value : kv_lora);
        for (int64_t r = 0; r < rows; ++r) {
            decode_row(key, first_row + r, row.data());
            for (int64_t t = 0; t < op.out.rows; ++t) {
                const float* q = query[t] + h * (op.nope + op.rope);
                double* sums = folded.data() + t * kv_lora;
                if (!op.transposed) {
                    sums[r] = dot(row.data(), q, op.nope);
                    continue;
                }
                for (int64_t c = 0; c < kv_lora; ++c)
                    sums[c] += static_cast<double>(q[r]) * row[static_cast<size_t>(c)];
            }
        }
        for (int64_t t = 0; t < op.out.rows; ++t) {
            std::transform(folded.data() + t * kv_lora, folded.data() + (t + 1) * kv_lora, out[t] + h * kv_lora,
                           [](double value) { return static_cast<float>(value); });
        }
    }
}

namespace {

struct LatentCache {
    std::vector<float> latents, rotary_keys;  // [tokens, kv_lora], [tokens, rope]
};

LatentCache decode_cache(const KvPages& cache, int64_t tokens, int64_t kv_lora, int64_t rope) {
    const LatentKvLayout layout(cache.format, cache.page_tokens, kv_lora, rope);
    LatentCache decoded;
    decoded.latents.resize(static_cast<size_t>(tokens * kv_lora));
    decoded.rotary_keys.resize(static_cast<size_t>(tokens * rope));
    for (int64_t p = 0; p < tokens; ++p) {
        const std::byte* page = cache.pages[static_cast<size_t>(p / cache.page_tokens)];
        const int64_t token = p % cache.page_tokens;
        decode_kv_row(cache.format, page + layout.latent(token), kv_lora, decoded.latents.data() + p * kv_lora);
        if (rope == 0) continue;
        decode_kv_row(cache.format, page + layout.rotary_key(token), rope, decoded.rotary_keys.data() + p * rope);
    }
    return decoded;
}

// The softmax of one head of one row, as far as its tiles went: sum and total are relative to the maximum. Kept as
// floats between tiles, as an operation per tile must.
struct RunningSoftmax {
    float* maximum;
    float* total;
    float* sum;  // [kv_lora]

    void clear(int64_t kv_lora) const {
        *maximum = -INFINITY;
        *total = 0;
        std::fill_n(sum, kv_lora, 0.0f);
    }

    void add_tile(const std::vector<double>& scores, const float* latents, int64_t kv_lora) const {
        const double largest = std::max(*maximum, static_cast<float>(*std::max_element(scores.begin(), scores.end())));
        const double rescale = std::exp(*maximum - largest);
        double weights = *total * rescale;
        std::vector<double> sums(sum, sum + kv_lora);
        for (double& value : sums) value *= rescale;
        for (const double score : scores) {
            const double weight = std::exp(score - largest);
            weights += weight;
            for (double& value : sums) value += weight * *latents++;
        }
        *maximum = static_cast<float>(largest);
        *total = static_cast<float>(weights);
        std::copy(sums.begin(), sums.end(), sum);
    }

    void divide(int64_t kv_lora, float* out) const {
        for (int64_t c = 0; c < kv_lora; ++c) out[c] = sum[c] / *total;
    }
};

// What one head of one row asks of the cache.
struct LatentQuery {
    const float* folded;
    const float* rotary;
    int64_t kv_lora, rope;
    double scale;

    std::vector<double> scores(const LatentCache& cache, int64_t first, int64_t end) const {
        std::vector<double> scores;
        for (int64_t p = first; p < end; ++p) {
            scores.push_back(scale * (dot(folded, cache.latents.data() + p * kv_lora, kv_lora) +
                                      dot(rotary, cache.rotary_keys.data() + p * rope, rope)));
        }
        return scores;
    }
};

// visit(row, head, what it asks, its cache, the tokens it sees) for every row and head of the batch.
template <typename Op, typename Visit>
void for_latent_queries(const Op& op, Visit&& visit) {
    const auto folded = rows_of(op.folded);
    const auto query = rows_of(op.query);
    const int64_t kv_lora = op.folded.columns / op.heads;
    for (const KvSegment& segment : op.segments) {
        const SequenceRows& rows = segment.rows;
        const LatentCache cache = decode_cache(segment.cache, rows.position + rows.count, kv_lora, op.rope);
        for (int64_t i = 0; i < rows.count; ++i) {
            const int64_t row = rows.first_row + i;
            for (int64_t h = 0; h < op.heads; ++h) {
                const LatentQuery asks{.folded = folded[row] + h * kv_lora,
                                       .rotary = query[row] + h * (op.nope + op.rope) + op.nope,
                                       .kv_lora = kv_lora,
                                       .rope = op.rope,
                                       .scale = op.scale};
                visit(row, h, asks, cache, rows.position + i + 1);
            }
        }
    }
}

}  // namespace

void compute(const AttendLatents& op) {
    const auto out = writable_rows_of(op.out);
    const int64_t kv_lora = op.folded.columns / op.heads;
    for_latent_queries(
        op, [&](int64_t row, int64_t h, const LatentQuery& asks, const LatentCache& cache, int64_t tokens) {
            float maximum = 0, total = 0;
            const RunningSoftmax softmax{.maximum = &maximum, .total = &total, .sum = out[row] + h * kv_lora};
            softmax.clear(kv_lora);
            softmax.add_tile(asks.scores(cache, 0, tokens), cache.latents.data(), kv_lora);
            softmax.divide(kv_lora, softmax.sum);
        });
}

void compute(const AttendSelectedLatents& op) {
    const auto out = writable_rows_of(op.out);
    const int64_t kv_lora = op.folded.columns / op.heads;
    for_latent_queries(
        op, [&](int64_t row, int64_t h, const LatentQuery& asks, const LatentCache& cache, int64_t tokens) {
            std::vector<double> scores;
            std::vector<float> latents;
            for (const int32_t token : selected_tokens("LatentAttention", op.selected, row, tokens - 1)) {
                scores.push_back(asks.scores(cache, token, token + 1).front());
                const float* latent = cache.latents.data() + token * kv_lora;
                latents.insert(latents.end(), latent, latent + kv_lora);
            }
            float maximum = 0, total = 0;
            const RunningSoftmax softmax{.maximum = &maximum, .total = &total, .sum = out[row] + h * kv_lora};
            softmax.clear(kv_lora);
            softmax.add_tile(scores, latents.data(), kv_lora);
            softmax.divide(kv_lora, softmax.sum);
        });
}

void compute(const AccumulateLatentTile& op) {
    const auto maximum = writable_rows_of(op.maximum);
    const auto total = writable_rows_of(op.total);
    const auto sum = writable_rows_of(op.sum);
    const int64_t kv_lora = op.folded.columns / op.heads;
    for_latent_queries(op,
                       [&](int64_t row, int64_t h, const LatentQuery& asks, const LatentCache& cache, int64_t tokens) {
                           const RunningSoftmax softmax{
                               .maximum = maximum[row] + h, .total = total[row] + h, .sum = sum[row] + h * kv_lora};
                           if (op.first_token == 0) softmax.clear(kv_lora);
                           const int64_t end = std::min(tokens, op.first_token + op.tokens);
                           if (op.first_token >= end) return;
                           softmax.add_tile(asks.scores(cache, op.first_token, end),
                                            cache.latents.data() + op.first_token * kv_lora, kv_lora);
                       });
}

void compute(const FinalizeLatentTiles& op) {
    const auto sum = rows_of(op.sum);
    const auto total = rows_of(op.total);
    const auto out = writable_rows_of(op.out);
    const int64_t kv_lora = op.sum.columns / op.total.columns;
    for (int64_t row = 0; row < op.sum.rows; ++row) {
        for (int64_t i = 0; i < op.sum.columns; ++i) out[row][i] = sum[row][i] / total[row][i / kv_lora];
    }
}

void compute(const ExpandedLatentAttention& form) {
    const LatentAttention& op = form.attention;
    const auto query = rows_of(op.query);
    const auto out = writable_rows_of(op.out);
    const WeightView key = view(op.key), value = view(op.value_weight);
    const int64_t kv_lora = op.transposed ? key.columns : key.rows / op.heads;
    // One matrix of float rows [nope | value] per head, whichever way it is stored.
    std::vector<float> kv_b(static_cast<size_t>(op.heads * (op.nope + op.value) * kv_lora));
    std::vector<float> line(static_cast<size_t>(std::max(op.nope, kv_lora)));
    for (int64_t h = 0; h < op.heads; ++h) {
        float* head = kv_b.data() + h * (op.nope + op.value) * kv_lora;
        for (int64_t r = 0; r < op.nope && op.transposed; ++r) {
            decode_row(key, h * (op.nope + op.value) + r, head + r * kv_lora);
        }
        for (int64_t c = 0; c < kv_lora && !op.transposed; ++c) {
            decode_row(key, h * kv_lora + c, line.data());
            for (int64_t r = 0; r < op.nope; ++r) head[r * kv_lora + c] = line[static_cast<size_t>(r)];
        }
        const int64_t first = op.transposed ? h * (op.nope + op.value) + op.nope : h * op.value;
        for (int64_t r = 0; r < op.value; ++r) decode_row(value, first + r, head + (op.nope + r) * kv_lora);
    }
    const WeightView expanded{.format = WeightFormat::floating(DType::kF32),
                              .rows = op.heads * (op.nope + op.value),
                              .columns = kv_lora,
                              .data = reinterpret_cast<const std::byte*>(kv_b.data())};
    for (const KvSegment& segment : form.segments) {
        const SequenceRows& rows = segment.rows;
        const LatentCache cache = decode_cache(segment.cache, rows.position + rows.count, kv_lora, op.rope);
        std::vector<float> queries;
        for (int64_t i = 0; i < rows.count; ++i) {
            const float* q = query[rows.first_row + i];
            queries.insert(queries.end(), q, q + op.query.columns);
        }
        const std::vector<float> result = naive_mla({.query = queries,
                                                     .latents = cache.latents,
                                                     .rotary_keys = cache.rotary_keys,
                                                     .kv_b = expanded,
                                                     .rows = rows.count,
                                                     .tokens = rows.position + rows.count,
                                                     .heads = op.heads,
                                                     .nope = op.nope,
                                                     .rope = op.rope,
                                                     .value = op.value,
                                                     .scale = op.scale});
        for (int64_t i = 0; i < rows.count; ++i) {
            std::copy_n(result.data() + i * op.out.columns, op.out.columns, out[rows.first_row + i]);
        }
    }
}

void compute(const ProjectValue& op) {
    const auto latent = rows_of(op.latent);
    const auto out = writable_rows_of(op.out);
    const WeightView weight = view(op.value_weight);
    const int64_t kv_lora = weight.columns;
    std::vector<float> row(static_cast<size_t>(kv_lora));
    for (int64_t h = 0; h < op.heads; ++h) {
        for (int64_t i = 0; i < op.value; ++i) {
            decode_row(weight, h * (op.nope + op.value) + op.nope + i, row.data());
            for (int64_t t = 0; t < op.latent.rows; ++t) {
                out[t][h * op.value + i] = static_cast<float>(dot(row.data(), latent[t] + h * kv_lora, kv_lora));
            }
        }
    }
}

}  // namespace sluice::reference
