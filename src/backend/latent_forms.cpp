#include "backend/latent_forms.h"

namespace sluice {

namespace {

// Fewer new tokens than this are always folded: see docs/experiments.md for the measurement.
constexpr int64_t kExpandFromTokens = 64;
// A multiplication of the expansion takes about as long as this many of attention: weights are decoded for it.
constexpr int64_t kExpansionCost = 2;

// Expanding costs a pass over every cached token and then less per query and token; folding costs per query.
bool expands(const LatentAttention& op, const SequenceRows& rows) {
    if (rows.count < kExpandFromTokens || op.selected.buffer != nullptr) return false;
    const int64_t rank = op.kv_lora(), width = op.nope + op.value;
    const int64_t visible = rows.count * rows.position + rows.count * (rows.count + 1) / 2;
    return kExpansionCost * rows.position * width * rank < visible * (2 * rank - width);
}

}  // namespace

std::vector<LatentRun> latent_runs(const LatentAttention& op, std::span<const KvSegment> segments) {
    std::vector<LatentRun> runs;
    for (size_t begin = 0; begin < segments.size();) {
        LatentRun run{.expanded = expands(op, segments[begin].rows), .attention = op, .segments = {}};
        const int64_t first_row = segments[begin].rows.first_row;
        int64_t rows = 0;
        for (; begin < segments.size() && expands(op, segments[begin].rows) == run.expanded; ++begin) {
            run.segments.push_back(segments[begin]);
            run.segments.back().rows.first_row -= first_row;
            rows += segments[begin].rows.count;
        }
        LatentAttention& part = run.attention;
        for (Tensor* tensor : {&part.query, &part.scratch, &part.out}) *tensor = tensor->rows_at(first_row, rows);
        if (part.selected.buffer != nullptr) part.selected = part.selected.rows_at(first_row, rows);
        runs.push_back(std::move(run));
    }
    return runs;
}

}  // namespace sluice
