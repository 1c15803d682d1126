// Attention over one head of keys that are values, too: those of the last tokens, and a cache's of runs.

#include "backend/cuda/attention.h"

namespace sluice::cuda {

namespace {

AttendArgs arguments_of(const SharedKeyAttention& op) {
    AttendArgs args{};
    args.query_a = rows_of(op.query);
    args.query_a_head = op.width();
    args.key_a = {.width = static_cast<int32_t>(op.width()), .first = 0, .head_bytes = 0, .token_bytes = 0};
    if (op.ratio != 0) {
        const RowKvLayout layout(op.cache.format, op.cache.page_tokens / op.ratio, op.width());
        args.cache = pages_of(op.cache);
        args.cache.page_tokens = static_cast<int32_t>(layout.page_tokens);
        args.key_a.token_bytes = static_cast<int64_t>(layout.row_bytes);
        list_seen(args, op.runs);
    }
    args.value = args.key_a;
    args.value_is_key_a = true;
    args.sequences = table_of(op.sequences);
    args.rows = static_cast<int>(op.keys.rows);
    args.heads = static_cast<int>(op.heads);
    args.key_heads = 1;
    args.scale = op.scale;
    args.sinks = op.sinks.buffer == nullptr ? nullptr : rows_of(op.sinks).first;
    args.recent = {.keys = rows_of(op.keys),
                   .states = table_of(op.states),
                   .window = static_cast<int>(op.window()),
                   .ratio = static_cast<int>(op.ratio)};
    args.out = writable_rows_of(op.out);
    return args;
}

constexpr int kKeepThreads = 128;

// A block per row of the batch: of the last rows of a sequence the keys, for later batches.
__global__ void __launch_bounds__(kKeepThreads) keep_kernel(RecentKeys recent, SequenceTable sequences, int width) {
    const int row = static_cast<int>(blockIdx.x);
    const SequencePart part = sequences.of_row(row);
    if (part.sequence < 0 || row < part.first_row + part.count - recent.window) return;
    const int position = part.position + row - part.first_row;
    float* const to = recent.states.of(part.sequence) + static_cast<int64_t>(position % recent.window) * width;
    for (int i = threadIdx.x; i < width; i += kKeepThreads) to[i] = recent.keys[row][i];
}

}  // namespace

void compute(Device& device, const SharedKeyAttention& op) {
    if (op.keys.rows == 0) return;
    const AttendArgs args = arguments_of(op);
    attend(device, args, op.sequences);
    keep_kernel<<<static_cast<unsigned>(op.keys.rows), kKeepThreads, 0, device.stream()>>>(
        args.recent, args.sequences, static_cast<int>(op.width()));
    check_launch(op.kName);
}

}  // namespace sluice::cuda
