#pragma once

// Rows of a weight times rows of activations, from any format: what Linear, GatedMlp and the MLA projections share.

#include <cstdint>
#include <span>
#include <vector>

#include "backend/cpu/kernels.h"
#include "backend/cpu/scratch.h"
#include "base/thread_pool.h"

namespace sluice {

enum class ActivationForm : uint8_t {
    kFloat,
    kBf16,
    kScaledBf16,  // floats, which become BF16 when they meet the factors of the FP8 blocks of a weight
    kInt8,
};

// How activations must be laid out to meet a weight.
struct ActivationLayout {
    ActivationForm form = ActivationForm::kFloat;
    // Of a weight that takes int8: they decide the order of the bytes and the scales.
    int bits = 0, group = 0;

    bool operator==(const ActivationLayout&) const = default;
};

inline bool takes_floats(ActivationLayout layout) {
    return layout.form == ActivationForm::kFloat || layout.form == ActivationForm::kScaledBf16;
}

// The fastest layout that these kernels have for the format.
ActivationLayout fastest_layout(const KernelTable& kernels, const WeightFormat& format);

// Rows of activations in one of the forms.
struct LinearInput {
    std::span<const float* const> floats{};
    std::span<const uint16_t* const> rounded{};
    std::span<const QuantizedRow> quantized{};
    bool scales_floats = false;  // kScaledBf16

    size_t tokens() const { return floats.size() + rounded.size() + quantized.size(); }
    LinearInput part(size_t first, size_t count) const {
        if (!quantized.empty()) return {.quantized = quantized.subspan(first, count)};
        if (!rounded.empty()) return {.rounded = rounded.subspan(first, count)};
        return {.floats = floats.subspan(first, count), .scales_floats = scales_floats};
    }
};

// Rows of activations in one layout, in memory of somebody else.
class ActivationRows {
  public:
    static size_t bytes(const KernelTable& kernels, ActivationLayout layout, int64_t rows, int64_t columns);
    // Takes its memory from `scratch`.
    ActivationRows(const KernelTable& kernels, ActivationLayout layout, int64_t rows, int64_t columns,
                   Scratch& scratch);
    // Floats where they are, in a layout that has them.
    ActivationRows(ActivationLayout layout, const float* values, int64_t stride)
        : layout_(layout), stride_(stride), floats_(values) {}

    const ActivationLayout& layout() const { return layout_; }
    // Columns [first, first + count) of row r, whole groups and units but for the end of the row. Not for floats where
    // they are.
    void set(const KernelTable& kernels, int64_t r, int64_t first, int64_t count, const float* x) const;

    // Rows row(0), row(1), ..., as multiply_rows takes them; what points to them lies in `scratch`.
    template <typename Row>
    LinearInput pick(size_t count, Row&& row, Scratch& scratch) const {
        const auto list = [&]<typename T>(T* entries, auto&& entry) {
            for (size_t i = 0; i < count; ++i) entries[i] = entry(static_cast<int64_t>(row(i)));
            return std::span<const T>(entries, count);
        };
        switch (layout_.form) {
            case ActivationForm::kInt8:
                return {.quantized =
                            list(scratch.take<QuantizedRow>(count), [&](int64_t r) { return quantized_row(r); })};
            case ActivationForm::kBf16:
                return {.rounded = list(scratch.take<const uint16_t*>(count),
                                        [&](int64_t r) { return rounded_ + r * stride_; })};
            default:
                return {
                    .floats = list(scratch.take<const float*>(count), [&](int64_t r) { return floats_ + r * stride_; }),
                    .scales_floats = layout_.form == ActivationForm::kScaledBf16};
        }
    }
    static size_t pick_bytes(size_t count) { return Scratch::padded<QuantizedRow>(count); }

  private:
    QuantizedRow quantized_row(int64_t r) const {
        return {values_ + r * stride_, scales_ + r * groups_, sums_ + r * groups_};
    }

    ActivationLayout layout_;
    int64_t stride_ = 0, groups_ = 0;
    const float* floats_ = nullptr;
    float* own_floats_ = nullptr;
    uint16_t* rounded_ = nullptr;
    int8_t* values_ = nullptr;
    float *scales_ = nullptr, *sums_ = nullptr;
};

// Scratch bytes that multiply_rows takes.
size_t multiply_rows_scratch(const KernelTable& kernels, const WeightView& weight, size_t tokens);

// out[t][first + r] = weight row r . x[t], for the rows of `weight`; added with `accumulate`. `next`, if any, is the
// weight that this thread will probably multiply after this one.
void multiply_rows(const KernelTable& kernels, const WeightView& weight, const LinearInput& x, float* const* out,
                   int64_t first, bool accumulate, Scratch& scratch, const WeightView* next = nullptr);

// Rows of a weight for one task, `usual` or more: with AMX every task gathers its activations anew.
int64_t rows_per_task(const KernelTable& kernels, ActivationLayout layout, size_t tokens, int64_t usual);

// The size of a piece of `count` equal tasks: a few per thread, each at least `smallest`.
size_t piece_size(const ThreadPool& pool, int64_t count, int64_t smallest = 1);

}  // namespace sluice
