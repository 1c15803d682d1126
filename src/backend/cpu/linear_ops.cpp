// Linear and the per-head projections of MLA.

#include <algorithm>
#include <functional>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/host_tensors.h"

namespace sluice {

namespace {

// Rows of a weight per task: a packed tile or two; for one token enough bytes to be worth a task.
constexpr int64_t kTaskRows = 64;
// The same where all rows of an FP8 block share the work of multiplying activations with its factor.
constexpr int64_t kBlockTaskRows = 128;

// For one token there is nothing to reuse: a small weight goes to all threads.
int64_t usual_task_rows(int64_t weight_rows, size_t tokens, bool whole_blocks, size_t threads) {
    constexpr int64_t kLeast = 16;  // what a vector kernel takes at once
    if (whole_blocks) return kBlockTaskRows;
    if (tokens > 1) return kTaskRows;
    const int64_t even = weight_rows / static_cast<int64_t>(threads) / kLeast * kLeast;
    return std::clamp(even, kLeast, kTaskRows);
}

void add_to(float* target, const float* values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) target[i] += values[i];
}

int64_t pieces(int64_t count, int64_t size) {
    return (count + size - 1) / size;
}

std::vector<float*> row_pointers(const Tensor& tensor) {
    float* base = writable_floats(tensor);
    std::vector<float*> rows(static_cast<size_t>(tensor.rows));
    for (size_t t = 0; t < rows.size(); ++t) rows[t] = base + static_cast<int64_t>(t) * tensor.row_stride;
    return rows;
}

}  // namespace

void CpuBackend::compute(const Linear& op) {
    const WeightView weight = view(op.weight);
    const float* x = floats(op.x);
    const std::vector<float*> out = row_pointers(op.out);
    const auto tokens = static_cast<size_t>(op.x.rows);
    const ActivationLayout layout = op.full_precision ? ActivationLayout{} : layout_for(weight);
    ActivationRows rows(layout, x, op.x.row_stride, op.x.columns);
    scratch_.reset();
    if (!layout.kernel->takes_floats()) {
        rows = ActivationRows(kernels_, layout, op.x.rows, op.x.columns, scratch_);
        for_rows(op.x.rows, op.x.columns,
                 [&](int64_t t) { rows.set(kernels_, t, 0, op.x.columns, x + t * op.x.row_stride); });
    }
    const auto inputs = rows.pick(tokens, std::identity{}, scratch_);
    const bool whole_blocks = layout.kernel->shares_blocks && tokens > 1;
    const int64_t task_rows = rows_per_task(kernels_, layout, std::min<size_t>(tokens, kTaskTokens),
                                            usual_task_rows(weight.rows, tokens, whole_blocks, pool_.threads()));
    const int64_t row_tasks = pieces(weight.rows, task_rows);
    for_tasks(static_cast<size_t>(row_tasks * pieces(op.x.rows, kTaskTokens)), [&](size_t task) {
        const size_t first = task / static_cast<size_t>(row_tasks) * kTaskTokens;
        const size_t count = std::min<size_t>(kTaskTokens, tokens - first);
        const int64_t row = static_cast<int64_t>(task) % row_tasks * task_rows;
        const WeightView part = weight.rows_at(row, std::min(task_rows, weight.rows - row));
        Scratch& scratch = thread_scratch();
        scratch.reset();
        const int64_t next_row = row + task_rows;
        WeightView next;
        if (next_row < weight.rows) next = weight.rows_at(next_row, std::min(task_rows, weight.rows - next_row));
        multiply_rows(kernels_,
                      {.weight = part,
                       .layout = layout,
                       .x = inputs.subspan(first, count),
                       .columns = rows.columns(),
                       .out = out.data() + first,
                       .first = row,
                       .accumulate = op.accumulate,
                       .next = next.data != nullptr ? &next : nullptr},
                      scratch);
        if (op.bias.buffer == nullptr) return;
        const float* bias = floats(op.bias) + row;
        for (size_t t = first; t < first + count; ++t) add_to(out[t] + row, bias, part.rows);
    });
}

struct CpuBackend::HeadLinear {
    WeightView weight;
    int64_t heads, first_row, rows, row_stride;
    const Tensor& x;
    int64_t x_stride;
    const Tensor& out;
};

void CpuBackend::run_heads(const HeadLinear& h) {
    const float* x = floats(h.x);
    float* out = writable_floats(h.out);
    const int64_t token_tasks = pieces(h.x.rows, kTaskTokens);
    const ActivationLayout layout = layout_for(h.weight);
    for_tasks(static_cast<size_t>(h.heads * token_tasks), [&](size_t task) {
        const int64_t head = static_cast<int64_t>(task) / token_tasks;
        const int64_t first = static_cast<int64_t>(task) % token_tasks * kTaskTokens;
        const int64_t count = std::min(kTaskTokens, h.x.rows - first);
        const WeightView part = h.weight.rows_at(head * h.row_stride + h.first_row, h.rows);
        std::vector<float*> outputs(static_cast<size_t>(count));
        for (int64_t t = 0; t < count; ++t) {
            outputs[static_cast<size_t>(t)] = out + (first + t) * h.out.row_stride + head * h.rows;
        }
        const float* inputs = x + first * h.x.row_stride + head * h.x_stride;
        ActivationRows rows(layout, inputs, h.x.row_stride, part.columns);
        Scratch& scratch = thread_scratch();
        scratch.reset();
        if (!layout.kernel->takes_floats()) {
            rows = ActivationRows(kernels_, layout, count, part.columns, scratch);
            for (int64_t t = 0; t < count; ++t) {
                rows.set(kernels_, t, 0, part.columns, inputs + t * h.x.row_stride);
            }
        }
        multiply_rows(kernels_,
                      {.weight = part,
                       .layout = layout,
                       .x = rows.pick(static_cast<size_t>(count), std::identity{}, scratch),
                       .columns = part.columns,
                       .out = outputs.data()},
                      scratch);
    });
}

void CpuBackend::compute(const ProjectValue& op) {
    run_heads({view(op.value_weight), op.heads, op.nope, op.value, op.nope + op.value, op.latent,
               op.latent.columns / op.heads, op.out});
}

void CpuBackend::compute(const FoldQuery& op) {
    const WeightView key = view(op.key);
    const int64_t width = op.out.columns / op.heads;
    if (!op.transposed) {
        run_heads({key, op.heads, 0, width, width, op.query, op.nope + op.rope, op.out});
        return;
    }
    const float* query = floats(op.query);
    float* out = writable_floats(op.out);
    const int64_t stride = (width + kernels_.lanes - 1) / kernels_.lanes * kernels_.lanes;
    for_tasks(static_cast<size_t>(op.heads), [&](size_t task) {
        const auto head = static_cast<int64_t>(task);
        Scratch& scratch = thread_scratch();
        const auto weight_floats = static_cast<size_t>(op.nope * stride);
        const auto sum_floats = static_cast<size_t>(op.query.rows * stride);
        scratch.reset(Scratch::padded<float>(weight_floats) + Scratch::padded<float>(sum_floats));
        auto* rows = scratch.take<float>(weight_floats);
        for (int64_t j = 0; j < op.nope; ++j) {
            std::fill_n(rows + j * stride + width, stride - width, 0.0f);
            kernels_.decode(key, head * (op.nope + op.value) + j, 0, width, rows + j * stride);
        }
        auto* sums = scratch.take<float>(sum_floats);
        kernels_.multiply(query + head * (op.nope + op.rope), op.query.row_stride, op.query.rows, rows, stride, op.nope,
                          stride, sums, stride, false);
        for (int64_t t = 0; t < op.query.rows; ++t) {
            std::copy_n(sums + t * stride, width, out + t * op.out.row_stride + head * width);
        }
    });
}

}  // namespace sluice
