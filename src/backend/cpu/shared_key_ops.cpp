// Attention over one head of keys that are values, too: what a row sees is gathered, then attended to like one page.

#include <algorithm>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/floats.h"
#include "backend/host_sequences.h"
#include "backend/host_tensors.h"
#include "backend/kv_layout.h"

namespace sluice {

namespace {

constexpr int64_t kGatheredHeads = 16;  // that go over what was gathered together

// What rows of one sequence see.
class SharedKeys {
  public:
    SharedKeys(const SharedKeyAttention& op, const StateSegment& segment, const KvPages* cache)
        : op_(op), segment_(segment), cache_(cache), keys_(floats(op.keys)) {}

    int64_t most(int64_t position) const {
        return std::min(op_.window(), position + 1) + (op_.ratio == 0 ? 0 : (position + 1) / op_.ratio);
    }

    // The keys that the row at `position` sees, one after the other; how many.
    int64_t gather(int64_t position, float* out) const {
        const int64_t width = op_.width(), start = segment_.rows.position, first_row = segment_.rows.first_row;
        float* next = out;
        for (int64_t p = std::max<int64_t>(0, position + 1 - op_.window()); p <= position; ++p, next += width) {
            copy_floats(next, p < start ? kept(p) : keys_ + (first_row + p - start) * op_.keys.row_stride, width);
        }
        for (const int64_t run : seen_runs(op_, first_row + position - start, position)) {
            const int64_t runs_of_page = cache_->page_tokens / op_.ratio;
            const std::byte* page = cache_->pages[static_cast<size_t>(run / runs_of_page)];
            const RowKvLayout layout(cache_->format, runs_of_page, width);
            decode_kv_row(cache_->format, page + layout.row(run % runs_of_page), width, next);
            next += width;
        }
        return (next - out) / width;
    }

    // The last keys, for later batches.
    void keep() const {
        const int64_t begin = segment_.rows.position, end = begin + segment_.rows.count;
        for (int64_t p = std::max(begin, end - op_.window()); p < end; ++p) {
            copy_floats(kept(p), keys_ + (segment_.rows.first_row + p - begin) * op_.keys.row_stride, op_.width());
        }
    }

  private:
    float* kept(int64_t position) const { return segment_.state + position % op_.window() * op_.width(); }

    const SharedKeyAttention& op_;
    const StateSegment& segment_;
    const KvPages* cache_;
    const float* keys_;
};

}  // namespace

void CpuBackend::compute(const SharedKeyAttention& op) {
    const float* query = floats(op.query);
    const float* sinks = op.sinks.buffer == nullptr ? nullptr : floats(op.sinks);
    float* out = writable_floats(op.out);
    const AttentionKernel& kernel = exact_ ? kernels_.attention : kernels_.rounded_attention;
    const int64_t width = op.width(), groups = (op.heads + kGatheredHeads - 1) / kGatheredHeads;
    const std::vector<StateSegment> segments = state_segments(op.kName, op.sequences, op.states, op.keys.rows);
    std::vector<KvSegment> caches;
    if (op.ratio != 0) caches = kv_segments(op.kName, op.sequences, op.cache, op.keys.rows);
    for (size_t s = 0; s < segments.size(); ++s) {
        const SequenceRows& rows = segments[s].rows;
        const SharedKeys keys(op, segments[s], caches.empty() ? nullptr : &caches[s].cache);
        for_tasks(static_cast<size_t>(rows.count * groups), [&](size_t task) {
            const int64_t i = static_cast<int64_t>(task) / groups, row = rows.first_row + i;
            const int64_t first_head = static_cast<int64_t>(task) % groups * kGatheredHeads;
            const int64_t heads = std::min(kGatheredHeads, op.heads - first_head);
            const std::byte* page = nullptr;
            const int64_t most = keys.most(rows.position + i);
            const KvRows gathered = {KvFormat::kF32, &page, most, static_cast<uint64_t>(width) * sizeof(float), 0,
                                     width};
            const size_t attention = kernel.scratch(&gathered, 1, width, static_cast<int>(heads));
            Scratch& scratch = thread_scratch();
            scratch.reset(Scratch::padded<float>(static_cast<size_t>(most * width)) +
                          Scratch::padded<float>(attention));
            auto* seen = scratch.take<float>(static_cast<size_t>(most * width));
            page = reinterpret_cast<const std::byte*>(seen);
            const std::vector<int64_t> visible(static_cast<size_t>(heads), keys.gather(rows.position + i, seen));
            std::vector<const float*> queries;
            std::vector<float*> targets;
            for (int64_t head = first_head; head < first_head + heads; ++head) {
                queries.push_back(query + row * op.query.row_stride + head * width);
                targets.push_back(out + row * op.out.row_stride + head * width);
            }
            AttentionRows asked = {&gathered,
                                   {queries.data(), nullptr},
                                   1,
                                   gathered,
                                   static_cast<int>(heads),
                                   visible.data(),
                                   op.scale,
                                   targets.data(),
                                   scratch.take<float>(attention)};
            if (sinks != nullptr) asked.sinks = sinks + first_head;
            kernel.run(asked);
        });
        keys.keep();
    }
}

}  // namespace sluice
