// Sparse attention: the cache of index keys, the choice of tokens, and attention over those alone.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"
#include "backend/kv_layout.h"

namespace sluice {

namespace {

constexpr int64_t kScoreBytes = sizeof(float);
constexpr int64_t kScoredRuns = 512;     // per task
constexpr int64_t kMultipliedRuns = 32;  // of them at a time
constexpr int64_t kSharedHeads = 32;     // that go over a row's tokens together

// The `room` best of scores[0 .. seen), ascending: all above the smallest of them, and the first of those that equal
// it.
std::vector<int32_t> best(float* scores, int64_t seen, int64_t room) {
    std::vector<int32_t> runs(static_cast<size_t>(std::min(seen, room)));
    if (seen <= room) {
        std::iota(runs.begin(), runs.end(), 0);
        return runs;
    }
    for (int64_t i = 0; i < seen; ++i) {
        if (std::isnan(scores[i])) scores[i] = -std::numeric_limits<float>::infinity();
    }
    std::vector<float> order(scores, scores + seen);
    std::nth_element(order.begin(), order.begin() + (room - 1), order.end(), std::greater<>());
    const float smallest = order[static_cast<size_t>(room - 1)];
    int64_t equal = std::count(order.begin(), order.begin() + room, smallest);
    size_t taken = 0;
    for (int64_t i = 0; taken < runs.size(); ++i) {
        if (scores[i] > smallest || (scores[i] == smallest && equal-- > 0)) runs[taken++] = static_cast<int32_t>(i);
    }
    return runs;
}

// Queries of all heads as kernels.multiply() takes them: in panels of so many heads as stay in the first cache, each
// [width, heads], zeros for the heads that fill the last vector.
class TurnedQueries {
  public:
    TurnedQueries(const KernelTable& kernels, int64_t heads, int64_t width)
        : heads_(heads), width_(width), panel_(4 * kernels.lanes) {
        columns_ = (heads + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
    }

    int64_t columns() const { return columns_; }
    size_t floats() const { return static_cast<size_t>(columns_ * width_); }

    void turn(const float* query, float* out) const {
        for (int64_t head = 0; head < heads_; ++head) {
            const int64_t panel = head / panel_ * panel_, stride = panel_columns(panel);
            float* column = out + panel * width_ + (head - panel);
            for (int64_t k = 0; k < width_; ++k) column[k * stride] = query[head * width_ + k];
        }
    }
    // products[r][head] = keys[r] . query of the head.
    void multiply(const KernelTable& kernels, const float* turned, const float* keys, int64_t rows,
                  float* products) const {
        for (int64_t panel = 0; panel < columns_; panel += panel_) {
            const int64_t columns = panel_columns(panel);
            kernels.multiply(keys, width_, rows, turned + panel * width_, columns, width_, columns, products + panel,
                             columns_, false);
        }
    }

  private:
    int64_t panel_columns(int64_t first) const { return std::min(panel_, columns_ - first); }

    int64_t heads_, width_, panel_, columns_;
};

// What a row at `position` sees, by the scores of the runs that are complete there.
void choose(const SelectTokens& op, float* scores, int64_t position, int32_t* out) {
    const int64_t complete = (position + 1) / op.ratio;
    int32_t* const end = out + op.out.columns;
    const std::vector<int32_t> runs = best(scores, complete, op.most_runs());
    if (!op.as_tokens) {
        std::fill(std::copy(runs.begin(), runs.end(), out), end, kNoToken);
        return;
    }
    for (const int32_t run : runs) {
        for (int64_t place = 0; place < op.ratio; ++place) *out++ = static_cast<int32_t>(run * op.ratio + place);
    }
    for (int64_t token = complete * op.ratio; token <= position; ++token) *out++ = static_cast<int32_t>(token);
    std::fill(out, end, kNoToken);
}

}  // namespace

void CpuBackend::compute(const AppendRows& op) {
    const float* rows = floats(op.rows);
    const int64_t width = op.rows.columns;
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.rows.rows)) {
        const KvPages& cache = segment.cache;
        const RowKvLayout layout(cache.format, cache.page_tokens / op.ratio, width);
        for_rows(segment.rows.count, 8 * width, [&](int64_t i) {
            const int64_t token = segment.rows.position + i;
            if ((token + 1) % op.ratio != 0) return;
            std::byte* page = cache.pages[static_cast<size_t>(token / cache.page_tokens)];
            encode_kv_row(cache.format, rows + (segment.rows.first_row + i) * op.rows.row_stride, width,
                          page + layout.row(token % cache.page_tokens / op.ratio));
        });
    }
}

// Rows [first, first + count) of a segment and the runs that the last of them sees, with the score of each in
// scores[row * runs + run]. A key is decoded once for all rows.
void CpuBackend::score_runs(const SelectTokens& op, const KvSegment& segment, int64_t first, int64_t count,
                            float* scores) {
    const float* query = floats(op.query) + (segment.rows.first_row + first) * op.query.row_stride;
    const float* weights = op.weights.buffer == nullptr
                               ? nullptr
                               : floats(op.weights) + (segment.rows.first_row + first) * op.weights.row_stride;
    const KvPages& cache = segment.cache;
    const int64_t position = segment.rows.position + first, runs = (position + count) / op.ratio;
    const int64_t width = op.width(), heads = op.head_count(), runs_of_page = op.cache.page_tokens / op.ratio;
    const TurnedQueries queries(kernels_, heads, width);
    const int64_t columns = queries.columns();
    const RowKvLayout layout(cache.format, runs_of_page, width);
    const std::vector<float> alike(weights == nullptr ? static_cast<size_t>(heads) : 0, 1.0f);
    for_tasks(static_cast<size_t>((runs + kScoredRuns - 1) / kScoredRuns), [&](size_t task) {
        const int64_t begin = static_cast<int64_t>(task) * kScoredRuns, end = std::min(runs, begin + kScoredRuns);
        const auto key_floats = static_cast<size_t>((end - begin) * width);
        const auto product_floats = static_cast<size_t>(kMultipliedRuns * columns);
        Scratch& scratch = thread_scratch();
        scratch.reset(Scratch::padded<float>(key_floats) + Scratch::padded<float>(queries.floats()) +
                      Scratch::padded<float>(product_floats));
        auto* keys = scratch.take<float>(key_floats);
        auto* turned = scratch.take<float>(queries.floats());
        auto* products = scratch.take<float>(product_floats);
        std::fill(turned, turned + queries.floats(), 0.0f);
        for (int64_t run = begin; run < end; ++run) {
            const std::byte* page = cache.pages[static_cast<size_t>(run / runs_of_page)];
            decode_kv_row(cache.format, page + layout.row(run % runs_of_page), width, keys + (run - begin) * width);
        }
        // From the row on where the task's first run is complete.
        for (int64_t i = std::max<int64_t>(0, (begin + 1) * op.ratio - 1 - position); i < count; ++i) {
            queries.turn(query + i * op.query.row_stride, turned);
            const float* weight = weights == nullptr ? alike.data() : weights + i * op.weights.row_stride;
            const int64_t complete = std::min(end, (position + i + 1) / op.ratio);
            for (int64_t run = begin; run < complete; run += kMultipliedRuns) {
                const int64_t some = std::min(kMultipliedRuns, complete - run);
                queries.multiply(kernels_, turned, keys + (run - begin) * width, some, products);
                for (int64_t j = 0; j < some * columns; ++j) products[j] = products[j] < 0 ? 0 : products[j];
                for (int64_t j = 0; j < some; ++j) {
                    scores[i * runs + run + j] = kernels_.dot(products + j * columns, weight, heads);
                }
            }
        }
    });
}

// Rows of a segment go together as far as there is room for their scores.
void CpuBackend::compute(const SelectTokens& op) {
    int32_t* out = writable_ints(op.out);
    for (const KvSegment& segment : kv_segments(op.kName, op.sequences, op.cache, op.query.rows)) {
        const int64_t all = (segment.rows.position + segment.rows.count) / op.ratio;
        const int64_t together = std::max<int64_t>(1, kSelectionScoreBytes / (kScoreBytes * std::max<int64_t>(all, 1)));
        for (int64_t first = 0; first < segment.rows.count; first += together) {
            const int64_t count = std::min(together, segment.rows.count - first);
            const int64_t position = segment.rows.position + first, runs = (position + count) / op.ratio;
            scratch_.reset(Scratch::padded<float>(static_cast<size_t>(count * runs)));
            auto* scores = scratch_.take<float>(static_cast<size_t>(count * runs));
            score_runs(op, segment, first, count, scores);
            for_tasks(static_cast<size_t>(count), [&](size_t task) {
                const auto i = static_cast<int64_t>(task);
                choose(op, scores + i * runs, position + i,
                       out + (segment.rows.first_row + first + i) * op.out.row_stride);
            });
        }
    }
}

// What a row sees is gathered into one page for each head of keys, over which attention runs as over any other.
void CpuBackend::attend_selected(const Attention& op, const KvSegment& segment, int64_t first) {
    const float* query = floats(op.query);
    float* out = writable_floats(op.out);
    const KvPages& cache = segment.cache;
    const int64_t head_dim = op.query.columns / op.heads, value_dim = op.out.columns / op.heads;
    const int64_t share = op.heads / op.kv_heads, room = op.selected.columns;
    const GroupedKvLayout layout(cache.format, cache.page_tokens, op.kv_heads, head_dim, value_dim);
    const GroupedKvLayout own(cache.format, room, 1, head_dim, value_dim);
    const auto head_bytes = static_cast<int64_t>(own.page_bytes()), row_bytes = op.kv_heads * head_bytes;
    const int64_t together = std::clamp<int64_t>(kSelectionGatherBytes / row_bytes, 1, segment.rows.count - first);
    scratch_.reset(Scratch::padded<std::byte>(static_cast<size_t>(together * row_bytes)));
    auto* gathered = scratch_.take<std::byte>(static_cast<size_t>(together * row_bytes));
    for (; first < segment.rows.count; first += together) {
        const int64_t count = std::min(together, segment.rows.count - first);
        for_tasks(static_cast<size_t>(count * op.kv_heads), [&](size_t task) {
            const int64_t i = first + static_cast<int64_t>(task) / op.kv_heads, row = segment.rows.first_row + i;
            const int64_t kv_head = static_cast<int64_t>(task) % op.kv_heads;
            std::byte* page = gathered + static_cast<int64_t>(task) * head_bytes;
            const auto tokens = selected_tokens(op.kName, op.selected, row, segment.rows.position + i);
            for (size_t t = 0; t < tokens.size(); ++t) {
                const std::byte* from = cache.pages[static_cast<size_t>(tokens[t] / cache.page_tokens)];
                const int64_t place = tokens[t] % cache.page_tokens;
                std::memcpy(page + own.key(0, static_cast<int64_t>(t)), from + layout.key(kv_head, place),
                            own.key_bytes);
                std::memcpy(page + own.value(0, static_cast<int64_t>(t)), from + layout.value(kv_head, place),
                            own.value_bytes);
            }
            const KvRows keys = {cache.format, &page, room, own.key_bytes, own.key(0, 0), head_dim};
            const KvRows values = {cache.format, &page, room, own.value_bytes, own.value(0, 0), value_dim};
            std::vector<const float*> queries;
            std::vector<float*> targets;
            for (int64_t head = kv_head * share; head < (kv_head + 1) * share; ++head) {
                queries.push_back(query + row * op.query.row_stride + head * head_dim);
                targets.push_back(out + row * op.out.row_stride + head * value_dim);
            }
            const std::vector<int64_t> visible(targets.size(), static_cast<int64_t>(tokens.size()));
            run_attention({&keys,
                           {queries.data(), nullptr},
                           1,
                           values,
                           static_cast<int>(targets.size()),
                           visible.data(),
                           op.scale,
                           targets.data(),
                           nullptr});
        });
    }
}

// What a row sees is gathered into one page, over which attention runs as over any other.
void CpuBackend::compute(const AttendSelectedLatents& op) {
    const float *folded = floats(op.folded), *query = floats(op.query);
    float* out = writable_floats(op.out);
    const int64_t width = op.folded.columns / op.heads, query_width = op.nope + op.rope;
    const int64_t head_groups = (op.heads + kSharedHeads - 1) / kSharedHeads;
    for (const KvSegment& segment : op.segments) {
        const KvPages& cache = segment.cache;
        const LatentKvLayout layout(cache.format, cache.page_tokens, width, op.rope);
        const auto row_bytes = static_cast<int64_t>(layout.token_bytes) * op.selected.columns;
        const int64_t together = std::clamp<int64_t>(kSelectionGatherBytes / row_bytes, 1, segment.rows.count);
        scratch_.reset(Scratch::padded<std::byte>(static_cast<size_t>(together * row_bytes)));
        auto* gathered = scratch_.take<std::byte>(static_cast<size_t>(together * row_bytes));
        for (int64_t first = 0; first < segment.rows.count; first += together) {
            const int64_t count = std::min(together, segment.rows.count - first);
            std::vector<int64_t> seen(static_cast<size_t>(count));
            for_rows(count, row_bytes / 4, [&](int64_t i) {
                const int64_t row = segment.rows.first_row + first + i;
                std::byte* target = gathered + i * row_bytes;
                for (const int32_t token :
                     selected_tokens("LatentAttention", op.selected, row, segment.rows.position + first + i)) {
                    const std::byte* page = cache.pages[static_cast<size_t>(token / cache.page_tokens)];
                    std::memcpy(target, page + layout.latent(token % cache.page_tokens), layout.token_bytes);
                    target += layout.token_bytes;
                    ++seen[static_cast<size_t>(i)];
                }
            });
            for_tasks(static_cast<size_t>(count * head_groups), [&](size_t task) {
                const int64_t i = static_cast<int64_t>(task) / head_groups, row = segment.rows.first_row + first + i;
                const int64_t first_head = static_cast<int64_t>(task) % head_groups * kSharedHeads;
                std::byte* page = gathered + i * row_bytes;
                const KvRows latents = {cache.format, &page, op.selected.columns, layout.token_bytes, 0, width};
                KvRows keys[2] = {latents, latents};
                keys[1].offset = layout.rotary_key(0);
                keys[1].columns = op.rope;
                std::vector<const float*> parts[2];
                std::vector<float*> targets;
                for (int64_t head = first_head; head < std::min(op.heads, first_head + kSharedHeads); ++head) {
                    parts[0].push_back(folded + row * op.folded.row_stride + head * width);
                    parts[1].push_back(query + row * op.query.row_stride + head * query_width + op.nope);
                    targets.push_back(out + row * op.out.row_stride + head * width);
                }
                const std::vector<int64_t> visible(targets.size(), seen[static_cast<size_t>(i)]);
                run_attention({keys,
                               {parts[0].data(), parts[1].data()},
                               op.key_parts(),
                               latents,
                               static_cast<int>(targets.size()),
                               visible.data(),
                               op.scale,
                               targets.data(),
                               nullptr});
            });
        }
    }
}

}  // namespace sluice
