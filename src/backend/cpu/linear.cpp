#include "backend/cpu/linear.h"

#include <algorithm>

#include "tensor/codecs.h"

namespace sluice {

namespace {

// What meets the weights of a codec in less than full precision. Blocks are met in int8 where a codec has kernels for
// that, and any other codec meets floats.
struct FastKernel {
    const Codec* codec;
    const LinearKernel* kernel;
    bool (*applies)(const KernelTable& kernels, const WeightFormat& format);
};

bool has_bf16(const KernelTable& kernels, const WeightFormat&) {
    return kernels.bf16 != nullptr;
}

bool has_fp4_tiles(const KernelTable& kernels, const WeightFormat& format) {
    return kernels.of(format).codes.bytes != nullptr;
}

// As many columns to a factor as the kernel decodes at a time, or fewer, and whole dwords.
bool has_fp8_tiles(const KernelTable& kernels, const WeightFormat& format) {
    constexpr int kMostColumns = 128;
    return kernels.of(format).codes.floats != nullptr && format.group_size % 4 == 0 &&
           format.group_size <= kMostColumns;
}

// The first that applies.
constexpr FastKernel kFastKernels[] = {
    {&kAffineCodec, &kInt8Linear, [](const KernelTable&, const WeightFormat&) { return true; }},
    {&kFloatCodec, &kBf16Linear,
     [](const KernelTable& kernels, const WeightFormat& format) {
         return kernels.bf16 != nullptr && format.dtype == DType::kBF16;
     }},
    {&kFp8BlockCodec, &kScaledBf16Linear,
     [](const KernelTable& kernels, const WeightFormat& format) {
         return kernels.bf16 != nullptr && format.group_size % kBf16Unit == 0;
     }},
    {&kMxfp4Codec, &kBf16Linear, has_bf16},
    {&kMxfp8Codec, &kBf16Linear, has_bf16},
    {&kNvfp4Codec, &kBf16Linear, has_bf16},
    {&kMxfp4Codec, &kFp4Linear, has_fp4_tiles},
    {&kNvfp4Codec, &kFp4Linear, has_fp4_tiles},
    {&kFp8BlockCodec, &kFp8Linear, has_fp8_tiles},
    {&kMxfp8Codec, &kFp8Linear, has_fp8_tiles},
};

}  // namespace

ActivationLayout fastest_layout(const KernelTable& kernels, const WeightFormat& format) {
    for (const FastKernel& fast : kFastKernels) {
        if (fast.codec != format.codec || !fast.applies(kernels, format)) continue;
        if (fast.kernel == &kInt8Linear || fast.kernel == &kFp4Linear)
            return {fast.kernel, format.bits, format.group_size};
        return {fast.kernel};
    }
    const BlockKernels* blocks = kernels.of(format).blocks;
    if (blocks != nullptr) return {.kernel = &kBlockLinear, .group = blocks->group};
    return {};
}

ActivationRows::ActivationRows(const KernelTable& kernels, ActivationLayout layout, int64_t rows, int64_t columns,
                               Scratch& scratch)
    : layout_(layout), columns_(columns) {
    const size_t bytes = layout.kernel->takes_floats() ? static_cast<size_t>(columns) * sizeof(float)
                                                       : layout.kernel->row_bytes(kernels, layout, columns);
    row_bytes_ = static_cast<int64_t>(bytes);
    rows_ = own_ = scratch.take<std::byte>(static_cast<size_t>(rows) * bytes);
}

void ActivationRows::set(const KernelTable& kernels, int64_t r, int64_t first, int64_t count, const float* x) const {
    std::byte* row = own_ + r * row_bytes_;
    if (layout_.kernel->takes_floats()) {
        std::copy_n(x, count, reinterpret_cast<float*>(row) + first);
    } else {
        layout_.kernel->prepare(kernels, layout_, columns_, first, count, x, row);
    }
}

int64_t rows_per_task(const KernelTable& kernels, const ActivationLayout& layout, size_t tokens, int64_t usual) {
    constexpr int64_t kGatheringRows = 256;
    auto* const gathering = layout.kernel->gathers;
    const bool gathers = gathering != nullptr && gathering(kernels, layout, static_cast<int64_t>(tokens));
    return gathers ? std::max(usual, kGatheringRows) : usual;
}

size_t piece_size(const ThreadPool& pool, int64_t count, int64_t smallest) {
    const auto pieces = static_cast<int64_t>(4 * pool.threads());
    return static_cast<size_t>(std::max(smallest, (count + pieces - 1) / pieces));
}

}  // namespace sluice
