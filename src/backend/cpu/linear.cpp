#include "backend/cpu/linear.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace sluice {

namespace {

// Rows that are decoded at a time for many rows of activations; they stay in the second cache.
constexpr int64_t kDecodedRows = 32;
constexpr size_t kDecodedTokens = 2;  // to floats, from so many on
constexpr size_t kPackedTokens = 3;   // to BF16
// Rows of activations that meet the factors of blocks at a time: they stay in the second cache.
constexpr size_t kScaledTokens = 128;

// Enough for values of a byte each, as AMX takes them.
size_t tile_value_bytes(const KernelTable& kernels, const WeightView& weight) {
    const int64_t row_bytes = kernels.quantized_bytes(weight.columns, weight.format.bits);
    const bool halves = weight.format.bits == 4 && kernels.amx == nullptr;
    return static_cast<size_t>((halves ? row_bytes / 2 : row_bytes) * kernels.tile_rows);
}

size_t tile_scales(const KernelTable& kernels, const WeightView& weight) {
    return static_cast<size_t>(weight.columns / weight.format.group_size * kernels.tile_rows);
}

size_t bf16_tile_values(const WeightView& weight) {
    return static_cast<size_t>(kBf16TileRows * bf16_row_values(weight.columns));
}

// Whether kernels for BF16 take the format: its values, but for the factors of FP8 blocks, are the same in BF16, and
// blocks are whole units.
bool exact_in_bf16(const WeightFormat& format) {
    if (format.codec == &kFloatCodec) return format.dtype == DType::kBF16;
    if (format.codec == &kFp8BlockCodec) return format.group_size % kBf16Unit == 0;
    return format.codec != &kAffineCodec;
}

AffineTile take_tile(const KernelTable& kernels, const WeightView& weight, Scratch& scratch) {
    AffineTile tile{};
    tile.values = scratch.take<std::byte>(tile_value_bytes(kernels, weight));
    tile.scales = scratch.take<float>(tile_scales(kernels, weight));
    tile.biases = scratch.take<float>(tile_scales(kernels, weight));
    return tile;
}

// Calls multiply(rows, first row, what will probably be packed next) for the rows of every tile.
template <typename Multiply>
void for_tiles(const KernelTable& kernels, const WeightView& weight, const WeightView* next, Multiply&& multiply) {
    const auto tile_at = [&](const WeightView& from, int64_t row) {
        return from.rows_at(row, std::min<int64_t>(kernels.tile_rows, from.rows - row));
    };
    for (int64_t row = 0; row < weight.rows; row += kernels.tile_rows) {
        std::optional<WeightView> following;
        if (row + kernels.tile_rows < weight.rows) {
            following = tile_at(weight, row + kernels.tile_rows);
        } else if (next != nullptr && next->format.codec == &kAffineCodec) {
            following = tile_at(*next, 0);
        }
        multiply(tile_at(weight, row), row, following ? &*following : nullptr);
    }
}

ActivationLayout int8_layout(const WeightFormat& format) {
    return {ActivationForm::kInt8, format.bits, format.group_size};
}

// AMX computes whole blocks, so most of their rows must be wanted; it is up to twice as fast.
bool amx_pays(const KernelTable& kernels, ActivationLayout layout, int64_t tokens) {
    const bool takes = kernels.amx != nullptr && layout.form == ActivationForm::kInt8 &&
                       (layout.bits == 4 || layout.bits == 8) &&
                       (layout.group == kAmxColumns || layout.group == 2 * kAmxColumns);
    const int64_t computed = amx_blocks(tokens) * kAmxTokens;
    return takes && 4 * tokens >= 3 * computed;
}

// Of activations in whole blocks.
struct GatheredSizes {
    size_t values, factors;

    GatheredSizes(const WeightView& weight, int64_t tokens) {
        const int64_t rows = amx_blocks(tokens) * kAmxTokens;
        values = static_cast<size_t>(rows * weight.columns);
        factors = static_cast<size_t>(rows * (weight.columns / weight.format.group_size));
    }
    size_t scratch_bytes() const { return Scratch::padded<int8_t>(values) + 2 * Scratch::padded<float>(factors); }
};

AmxActivations gather_activations(const KernelTable& kernels, const WeightView& weight, const LinearInput& x,
                                  Scratch& scratch) {
    AmxActivations gathered{};
    gathered.tokens = static_cast<int64_t>(x.tokens());
    gathered.columns = weight.columns;
    const GatheredSizes sizes(weight, gathered.tokens);
    gathered.values = scratch.take<int8_t>(sizes.values);
    gathered.scales = scratch.take<float>(sizes.factors);
    gathered.sums = scratch.take<float>(sizes.factors);
    kernels.amx->gather(x.quantized.data(), weight.format.bits, weight.format.group_size, gathered);
    return gathered;
}

void multiply_quantized(const KernelTable& kernels, const WeightView& weight, const LinearInput& x, float* const* out,
                        int64_t first, bool accumulate, Scratch& scratch, const WeightView* next) {
    const auto tokens = static_cast<int64_t>(x.tokens());
    if (tokens < kernels.matrix_tokens) {
        for (int64_t t = 0; t < tokens; ++t) {
            kernels.affine_vector(weight, x.quantized[static_cast<size_t>(t)], out[t] + first, accumulate,
                                  t + 1 == tokens ? next : nullptr);
        }
        return;
    }
    AffineTile tile = take_tile(kernels, weight, scratch);
    if (amx_pays(kernels, int8_layout(weight.format), tokens)) {
        const AmxActivations gathered = gather_activations(kernels, weight, x, scratch);
        for_tiles(kernels, weight, next, [&](const WeightView& part, int64_t row, const WeightView* following) {
            kernels.amx->pack(part, tile);
            kernels.amx->matrix(tile, gathered, out, first + row, accumulate, following);
        });
        return;
    }
    for_tiles(kernels, weight, next, [&](const WeightView& part, int64_t row, const WeightView* following) {
        kernels.affine_pack(part, tile);
        kernels.affine_matrix(tile, x.quantized.data(), tokens, out, first + row, accumulate, following);
    });
}

void multiply_floats(const KernelTable& kernels, const WeightView& weight, const LinearInput& x, float* const* out,
                     int64_t first, bool accumulate, Scratch& scratch) {
    if (x.tokens() < kDecodedTokens) {
        for (size_t t = 0; t < x.tokens(); ++t) {
            kernels.float_vector(weight, x.floats[t], out[t] + first, accumulate);
        }
        return;
    }
    auto* tile = scratch.take<float>(static_cast<size_t>(kDecodedRows * weight.columns));
    for (int64_t row = 0; row < weight.rows; row += kDecodedRows) {
        const int64_t rows = std::min(kDecodedRows, weight.rows - row);
        for (int64_t r = 0; r < rows; ++r) {
            kernels.decode(weight, row + r, 0, weight.columns, tile + r * weight.columns);
        }
        kernels.float_matrix(tile, weight.columns, rows, weight.columns, x.floats.data(),
                             static_cast<int64_t>(x.tokens()), out, first + row, accumulate);
    }
}

// Where weights and activations become what the kernels for many rows of BF16 take.
struct PackedBf16 {
    uint16_t* tile;
    uint16_t* blocks = nullptr;

    PackedBf16(const KernelTable& kernels, const WeightView& weight, size_t tokens, Scratch& scratch)
        : tile(scratch.take<uint16_t>(bf16_tile_values(weight))) {
        const size_t values = gathered_values(kernels, weight, tokens);
        if (values > 0) blocks = scratch.take<uint16_t>(values);
    }
    static size_t scratch_bytes(const KernelTable& kernels, const WeightView& weight, size_t tokens) {
        return Scratch::padded<uint16_t>(bf16_tile_values(weight)) +
               Scratch::padded<uint16_t>(gathered_values(kernels, weight, tokens));
    }

  private:
    static size_t gathered_values(const KernelTable& kernels, const WeightView& weight, size_t tokens) {
        const bool gathers = kernels.bf16 != nullptr && kernels.bf16->gather != nullptr;
        if (!gathers || !exact_in_bf16(weight.format) || tokens < kPackedTokens) return 0;
        const int64_t rows = amx_blocks(static_cast<int64_t>(tokens)) * kAmxTokens;
        return static_cast<size_t>(rows * whole_bf16_units(weight.columns));
    }
};

void multiply_rounded(const KernelTable& kernels, const WeightView& weight, std::span<const uint16_t* const> x,
                      float* const* out, int64_t first, bool accumulate, const PackedBf16& packed) {
    if (x.size() < kPackedTokens) {
        for (size_t t = 0; t < x.size(); ++t) {
            kernels.bf16->vector(weight, x[t], out[t] + first, accumulate);
        }
        return;
    }
    const Bf16Activations activations{x.data(), static_cast<int64_t>(x.size()), packed.blocks};
    if (kernels.bf16->gather != nullptr) kernels.bf16->gather(activations, weight.columns);
    Bf16Tile tile{};
    tile.values = packed.tile;
    for (int64_t row = 0; row < weight.rows; row += kBf16TileRows) {
        kernels.bf16->pack(weight.rows_at(row, std::min(kBf16TileRows, weight.rows - row)), tile);
        kernels.bf16->matrix(tile, activations, out, first + row, accumulate);
    }
}

// FP8 with a factor per block. Rows of the weight in the same blocks see the same factors, so that the activations can
// be multiplied with them before they are rounded.
void multiply_scaled(const KernelTable& kernels, const WeightView& weight, const LinearInput& x, float* const* out,
                     int64_t first, bool accumulate, Scratch& scratch) {
    const size_t most = std::min(x.tokens(), kScaledTokens);
    const int64_t stride = bf16_row_values(weight.columns);
    auto* rounded = scratch.take<uint16_t>(most * static_cast<size_t>(stride));
    auto* rows = scratch.take<const uint16_t*>(most);
    const PackedBf16 packed(kernels, weight, most, scratch);
    for (size_t t = 0; t < most; ++t) rows[t] = rounded + static_cast<int64_t>(t) * stride;
    int64_t count = 0;
    for (int64_t row = 0; row < weight.rows; row += count) {
        const int64_t left = weight.format.group_rows - (weight.block_row_offset + row) % weight.format.group_rows;
        count = std::min(left, weight.rows - row);
        for (size_t token = 0; token < x.tokens(); token += most) {
            const size_t tokens = std::min(most, x.tokens() - token);
            for (size_t t = 0; t < tokens; ++t) {
                kernels.bf16->round_scaled(weight, row, x.floats[token + t],
                                           rounded + static_cast<int64_t>(t) * stride);
            }
            multiply_rounded(kernels, weight.rows_at(row, count), {rows, tokens}, out + token, first + row, accumulate,
                             packed);
        }
    }
}

}  // namespace

ActivationLayout fastest_layout(const KernelTable& kernels, const WeightFormat& format) {
    if (format.codec == &kAffineCodec) return int8_layout(format);
    if (kernels.bf16 == nullptr || !exact_in_bf16(format)) return {};
    if (format.codec == &kFp8BlockCodec) return {ActivationForm::kScaledBf16};
    return {ActivationForm::kBf16};
}

size_t ActivationRows::bytes(const KernelTable& kernels, ActivationLayout layout, int64_t rows, int64_t columns) {
    switch (layout.form) {
        case ActivationForm::kInt8:
            return Scratch::padded<int8_t>(static_cast<size_t>(rows * kernels.quantized_bytes(columns, layout.bits))) +
                   2 * Scratch::padded<float>(static_cast<size_t>(rows * (columns / layout.group)));
        case ActivationForm::kBf16:
            return Scratch::padded<uint16_t>(static_cast<size_t>(rows * bf16_row_values(columns)));
        default:
            return Scratch::padded<float>(static_cast<size_t>(rows * columns));
    }
}

ActivationRows::ActivationRows(const KernelTable& kernels, ActivationLayout layout, int64_t rows, int64_t columns,
                               Scratch& scratch)
    : layout_(layout) {
    if (takes_floats(layout)) {
        stride_ = columns;
        own_floats_ = scratch.take<float>(static_cast<size_t>(rows * stride_));
        floats_ = own_floats_;
        return;
    }
    if (layout.form == ActivationForm::kBf16) {
        stride_ = bf16_row_values(columns);
        rounded_ = scratch.take<uint16_t>(static_cast<size_t>(rows * stride_));
        return;
    }
    stride_ = kernels.quantized_bytes(columns, layout.bits);
    groups_ = columns / layout.group;
    values_ = scratch.take<int8_t>(static_cast<size_t>(rows * stride_));
    scales_ = scratch.take<float>(static_cast<size_t>(rows * groups_));
    sums_ = scratch.take<float>(static_cast<size_t>(rows * groups_));
    if (stride_ == columns) return;
    // Padding may lie between the columns of the last unit.
    const int64_t last = columns - columns % kernels.quantized_bytes(1, layout.bits);
    for (int64_t r = 0; r < rows; ++r) {
        std::memset(values_ + r * stride_ + last, 0, static_cast<size_t>(stride_ - last));
    }
}

void ActivationRows::set(const KernelTable& kernels, int64_t r, int64_t first, int64_t count, const float* x) const {
    switch (layout_.form) {
        case ActivationForm::kInt8:
            return kernels.quantize(x, first, count, layout_.bits, layout_.group, values_ + r * stride_,
                                    scales_ + r * groups_, sums_ + r * groups_);
        case ActivationForm::kBf16:
            return kernels.bf16->round(x, count, rounded_ + r * stride_ + first);
        default:
            std::copy_n(x, count, own_floats_ + r * stride_ + first);
    }
}

size_t multiply_rows_scratch(const KernelTable& kernels, const WeightView& weight, size_t tokens) {
    size_t bytes = 0, together = tokens;
    if (weight.format.codec == &kFp8BlockCodec && kernels.bf16 != nullptr) {
        together = std::min(tokens, kScaledTokens);
        bytes += Scratch::padded<uint16_t>(together * static_cast<size_t>(bf16_row_values(weight.columns))) +
                 Scratch::padded<const uint16_t*>(together);
    }
    size_t tile = PackedBf16::scratch_bytes(kernels, weight, together);
    if (tokens >= kDecodedTokens) {
        tile = std::max(tile, Scratch::padded<float>(static_cast<size_t>(kDecodedRows * weight.columns)));
    }
    if (weight.format.codec == &kAffineCodec && tokens > 1) {
        tile = std::max(tile, Scratch::padded<std::byte>(tile_value_bytes(kernels, weight)) +
                                  2 * Scratch::padded<float>(tile_scales(kernels, weight)));
        const auto count = static_cast<int64_t>(tokens);
        if (amx_pays(kernels, int8_layout(weight.format), count)) tile += GatheredSizes(weight, count).scratch_bytes();
    }
    return bytes + tile;
}

void multiply_rows(const KernelTable& kernels, const WeightView& weight, const LinearInput& x, float* const* out,
                   int64_t first, bool accumulate, Scratch& scratch, const WeightView* next) {
    if (!x.quantized.empty()) {
        multiply_quantized(kernels, weight, x, out, first, accumulate, scratch, next);
    } else if (!x.rounded.empty()) {
        multiply_rounded(kernels, weight, x.rounded, out, first, accumulate,
                         PackedBf16(kernels, weight, x.tokens(), scratch));
    } else if (x.scales_floats) {
        multiply_scaled(kernels, weight, x, out, first, accumulate, scratch);
    } else {
        multiply_floats(kernels, weight, x, out, first, accumulate, scratch);
    }
}

int64_t rows_per_task(const KernelTable& kernels, ActivationLayout layout, size_t tokens, int64_t usual) {
    constexpr int64_t kAmxTaskRows = 256;
    const auto count = static_cast<int64_t>(tokens);
    const bool gathers_bf16 = layout.form == ActivationForm::kBf16 && kernels.bf16->gather != nullptr;
    const bool gathers = (gathers_bf16 && count >= kAmxTokens) || amx_pays(kernels, layout, count);
    return gathers ? std::max(usual, kAmxTaskRows) : usual;
}

size_t piece_size(const ThreadPool& pool, int64_t count, int64_t smallest) {
    const auto pieces = static_cast<int64_t>(4 * pool.threads());
    return static_cast<size_t>(std::max(smallest, (count + pieces - 1) / pieces));
}

}  // namespace sluice
