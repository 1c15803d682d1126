#pragma once

// Rows of a weight times rows of activations, from any format: what Linear, GatedMlp and the MLA projections share.

#include <cstdint>
#include <span>

#include "backend/cpu/kernels.h"
#include "backend/cpu/scratch.h"
#include "base/thread_pool.h"

namespace sluice {

// Tokens per task: their int8 rows stay in the second cache while the tiles of the weight pass by.
inline constexpr int64_t kTaskTokens = 256;

struct LinearKernel;
extern const LinearKernel kFloatLinear;  // for every format

// How activations lie to meet a weight.
struct ActivationLayout {
    const LinearKernel* kernel = &kFloatLinear;
    // Of weights that take int8: they decide the order of the bytes and the scales.
    int bits = 0, group = 0;

    bool operator==(const ActivationLayout&) const = default;
};

// out[t][first + r] = weight row r . row t of x, for the rows of `weight`; added with `accumulate`. The rows of x are
// in the layout, each of `columns`, which may be more than the weight has. `next`, if any, is the weight that this
// thread will probably multiply after this one.
struct LinearProduct {
    WeightView weight;
    ActivationLayout layout;
    std::span<const std::byte* const> x;
    int64_t columns;
    float* const* out;
    int64_t first = 0;
    bool accumulate = false;
    const WeightView* next = nullptr;

    int64_t tokens() const { return static_cast<int64_t>(x.size()); }
};

// One way to multiply: a row of the table in linear.cpp, a source file of its own.
struct LinearKernel {
    void (*multiply)(const KernelTable& kernels, const LinearProduct& product, Scratch& scratch);

    // What a row of activations becomes, in how many bytes (a multiple of 64): columns [first, first + count) of a row
    // of `columns`, whole groups and units but for the end of the row. Null: it takes floats where they are.
    size_t (*row_bytes)(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns) = nullptr;
    void (*prepare)(const KernelTable& kernels, const ActivationLayout& layout, int64_t columns, int64_t first,
                    int64_t count, const float* x, std::byte* row) = nullptr;

    // Whether every call lays so many activations out anew, so that it should have many rows of the weight.
    bool (*gathers)(const KernelTable& kernels, const ActivationLayout& layout, int64_t tokens) = nullptr;
    // Whether it reads a weight in tiles, sooner than one whose rows follow each other. Null: it cannot.
    bool (*reads_tiles)(const KernelTable& kernels, const WeightFormat& format) = nullptr;
    bool shares_blocks = false;  // rows of a weight in the same FP8 blocks share work

    bool takes_floats() const { return prepare == nullptr; }
};

extern const LinearKernel kInt8Linear;        // affine weights, activations in int8
extern const LinearKernel kBlockLinear;       // GGUF's blocks, activations in int8
extern const LinearKernel kBf16Linear;        // weights that are exact in BF16, activations rounded to it
extern const LinearKernel kFp4Linear;         // FP4 in tiles, activations in int8
extern const LinearKernel kFp8Linear;         // FP8 in tiles, activations in float, scaled up
extern const LinearKernel kScaledBf16Linear;  // FP8 blocks: activations times a block's factor, rounded to BF16

// The fastest layout that these kernels have for the format.
ActivationLayout fastest_layout(const KernelTable& kernels, const WeightFormat& format);

// Rows of activations in one layout, in memory of somebody else.
class ActivationRows {
  public:
    // Takes its memory from `scratch`.
    ActivationRows(const KernelTable& kernels, ActivationLayout layout, int64_t rows, int64_t columns,
                   Scratch& scratch);
    // Floats where they are, `stride` apart, in a layout that takes them.
    ActivationRows(ActivationLayout layout, const float* values, int64_t stride, int64_t columns)
        : layout_(layout),
          columns_(columns),
          row_bytes_(stride * static_cast<int64_t>(sizeof(float))),
          rows_(reinterpret_cast<const std::byte*>(values)) {}

    const ActivationLayout& layout() const { return layout_; }
    int64_t columns() const { return columns_; }
    const std::byte* row(int64_t r) const { return rows_ + r * row_bytes_; }
    // As LinearKernel::prepare. Not for floats where they are.
    void set(const KernelTable& kernels, int64_t r, int64_t first, int64_t count, const float* x) const;

    // Rows row(0), row(1), ..., as LinearProduct takes them; the list lies in `scratch`.
    template <typename Row>
    std::span<const std::byte* const> pick(size_t count, Row&& row_at, Scratch& scratch) const {
        auto* list = scratch.take<const std::byte*>(count);
        for (size_t i = 0; i < count; ++i) list[i] = row(static_cast<int64_t>(row_at(i)));
        return {list, count};
    }

  private:
    ActivationLayout layout_;
    int64_t columns_ = 0, row_bytes_ = 0;
    const std::byte* rows_ = nullptr;
    std::byte* own_ = nullptr;
};

inline void multiply_rows(const KernelTable& kernels, const LinearProduct& product, Scratch& scratch) {
    product.layout.kernel->multiply(kernels, product, scratch);
}

// Rows of a weight for one task, `usual` or more.
int64_t rows_per_task(const KernelTable& kernels, const ActivationLayout& layout, size_t tokens, int64_t usual);

// The size of a piece of `count` equal tasks: a few per thread, each at least `smallest`.
size_t piece_size(const ThreadPool& pool, int64_t count, int64_t smallest = 1);

}  // namespace sluice
