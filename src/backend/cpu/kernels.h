#pragma once

// What one instruction set offers: a table of plain functions, compiled per instruction set in isa/. A row's result
// never depends on which other rows are computed with it, nor on whether the vector or the matrix form computes it.

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/kv_format.h"
#include "tensor/weight_view.h"

namespace sluice {

// One row of activations as signed bytes, in the order in which the kernels unpack weights of this many bits; per group
// the scale and scale * sum of the bytes.
struct QuantizedRow {
    const int8_t* values;
    const float* scales;
    const float* sums;
};

// Up to KernelTable::tile_rows rows of an affine weight as bytes (4-bit weights as pairs), interleaved so that a vector
// holds four columns (eight) of each row; scales and zero points as floats, [groups, tile_rows].
struct AffineTile {
    std::byte* values;
    float* scales;
    float* zero_points;
    int64_t columns;
    int bits;
    int group;
    int rows;
};

// One row of activations as signed bytes; per group of BlockKernels the scale, per 16 columns the sum of the bytes.
struct BlockRow {
    const int8_t* values;
    const float* scales;
    const int16_t* sums;
};

// Up to KernelTable::tile_rows rows of a weight in blocks, as bytes interleaved like those of an AffineTile; beside
// them what the kernel makes of scales and factors, kFactorWords words a row for every kFactorColumns.
struct BlockTile {
    static constexpr int64_t kFactorColumns = 128, kFactorWords = 14;

    std::byte* values;
    int32_t* factors;
    int64_t columns;
    int rows;
    bool minima;  // as BlockKernels says
    int center;   // what is taken away from codes whose factors do not finish that
};

// Rows of the cache, one per token: token t is at pages[t / page_tokens] + offset + (t % page_tokens) * token_bytes.
struct KvRows {
    KvFormat format;
    const std::byte* const* pages;
    int64_t page_tokens;
    uint64_t token_bytes;
    uint64_t offset;
    int64_t columns;
};

// Query rows that read the same keys and values. Row r sees tokens [begin[r], visible[r]), or from 0 without `begin`.
struct AttentionRows {
    const KvRows* keys;            // `parts` of them, side by side in a key
    const float* const* query[2];  // per part: rows pointers
    int parts;
    KvRows values;
    int rows;
    const int64_t* visible;
    float scale;
    float* const* out;
    float* scratch;  // as many as AttentionKernel::scratch says

    // For a cache that goes in tiles, else null: tokens from `first` on are added to what earlier tiles (there are none
    // where first is 0) left of each row in *maximum, *total and, undivided, in out.
    int64_t first = 0;
    float* const* maximum = nullptr;
    float* const* total = nullptr;

    const int64_t* begin = nullptr;
    const float* sinks = nullptr;  // per row: a logit without a value; not for a cache that goes in tiles
};

struct AttentionKernel {
    // Floats of scratch for `rows` query rows.
    size_t (*scratch)(const KvRows* keys, int parts, int64_t value_columns, int rows);
    void (*run)(const AttentionRows& rows);
};

// Rows of one head of the gated delta rule, over all tokens of a sequence.
struct DeltaRows {
    float* state;  // row r at r * state_stride
    int64_t state_stride;
    int64_t rows, key_dim, tokens;
    const float* keys;  // token t at t * key_stride, normalized
    int64_t key_stride;
    const float* asked_keys;     // token t at t * asked_stride; where decays go by channel, times them
    const float* asked_queries;  // likewise, scaled
    const float* decays;         // likewise, by channel; null: `decay` alone
    int64_t asked_stride;
    const float* values;  // token t at t * value_stride, `rows` of them
    int64_t value_stride;
    const float* decay;  // token t at t * gate_stride, of all channels
    const float* beta;
    int64_t gate_stride;
    const float* key_query;  // key . query of token t at t * dot_stride
    int64_t dot_stride;
    float* out;  // token t at t * out_stride
    int64_t out_stride;
    float* turned;  // scratch: key_dim * 2 * KernelTable::lanes
};

// Rows of activations, and columns of a weight in int8, that one AMX instruction takes.
inline constexpr int64_t kAmxTokens = 16, kAmxColumns = 64;

// So many tokens in blocks of kAmxTokens.
constexpr int64_t amx_blocks(int64_t tokens) {
    return (tokens + kAmxTokens - 1) / kAmxTokens;
}

// Rows of activations in BF16 are padded with zeros to whole units.
inline constexpr int64_t kBf16Unit = 64;
constexpr int64_t whole_bf16_units(int64_t columns) {
    return (columns + kBf16Unit - 1) / kBf16Unit * kBf16Unit;
}
// Values from one row to the next: not a multiple of 4 KB, or the same lines of all rows would meet in one set of the
// first cache.
constexpr int64_t bf16_row_values(int64_t columns) {
    const int64_t whole = whole_bf16_units(columns);
    return whole % 1024 == 0 ? whole + kBf16Unit / 2 : whole;
}
// What a tile has room for; they stay in the second cache.
inline constexpr int64_t kBf16TileRows = 32;

// Rows of a weight in BF16, padded with zeros like rows of activations: row r at r * stride; `columns` are whole units.
struct Bf16Tile {
    uint16_t* values;
    int64_t columns, stride, rows;
};

// Rows of activations in BF16, where they lie and, for kernels that gather them, in blocks of kAmxTokens, the last row
// again where a block lacks any: [blocks, whole units of columns / 2, kAmxTokens] pairs of columns.
struct Bf16Activations {
    const uint16_t* const* rows;
    int64_t tokens;
    uint16_t* blocks = nullptr;
};

// Weights that are exact in BF16, but for the factors of FP8 blocks, with which the activations are multiplied;
// activations rounded to BF16.
struct Bf16Kernels {
    // Both pad with zeros to whole units.
    void (*round)(const float* x, int64_t count, uint16_t* out);
    // x times the factors of the blocks that hold this row of the weight.
    void (*round_scaled)(const WeightView& weight, int64_t row, const float* x, uint16_t* out);
    void (*vector)(const WeightView& weight, const uint16_t* x, float* out, bool accumulate);
    void (*pack)(const WeightView& weight, Bf16Tile& tile);
    // Fills the blocks that `matrix` reads; null where it reads the rows.
    void (*gather)(const Bf16Activations& x, int64_t columns);
    // Row r of the tile goes to out[t][first + r].
    void (*matrix)(const Bf16Tile& tile, const Bf16Activations& x, float* const* out, int64_t first, bool accumulate);
};

// Rows of int8 activations in blocks of kAmxTokens, the last row again where a block lacks any: values [blocks, columns
// / kAmxColumns, kAmxTokens, kAmxColumns], scales and sums [blocks, groups, kAmxTokens].
struct AmxActivations {
    int8_t* values;
    float *scales, *sums;
    int64_t columns, groups, tokens;

    int64_t blocks() const { return amx_blocks(tokens); }
};

// Weights of 4 and 8 bits in groups of one or two times kAmxColumns, times many rows; affine_matrix gives the same
// bits.
struct AmxKernels {
    void (*gather)(const QuantizedRow* x, int bits, int group, AmxActivations& out);
    // As AffineTile says, but values are one byte each: tile_rows * columns.
    void (*pack)(const WeightView& weight, AffineTile& tile);
    void (*matrix)(const AffineTile& tile, const AmxActivations& x, float* const* out, int64_t first, bool accumulate,
                   const WeightView* next);
};

// Columns [first, first + count) of a row as floats; first a multiple of 128, count too unless the row ends there.
using DecodeColumns = void (*)(const WeightView& weight, int64_t row, int64_t first, int64_t count, float* out);

// GGUF's blocks times activations in int8. A group's products and whole factors are added up exactly in int32, groups
// in float in ascending order, so that vector and matrix form give the same bits.
struct BlockKernels {
    int group;    // columns of activations that share a scale
    bool minima;  // whether something is taken away from products, in a scale of its own
    // `next`, if any, is the weight that will be asked for after this one.
    void (*vector)(const WeightView& weight, const BlockRow& x, float* out, bool accumulate, const WeightView* next);
    // The rows stand in either way where there is a tiled_vector.
    void (*pack)(const WeightView& weight, BlockTile& tile);
    // Row r of the tile goes to out[t][first + r].
    void (*matrix)(const BlockTile& tile, const BlockRow* x, int64_t tokens, float* const* out, int64_t first,
                   bool accumulate);
    // `vector` for a weight in tiles (tensor/row_tiles.h), sooner than `matrix` for up to so many rows of x. Null where
    // it is not read so.
    void (*tiled_vector)(const WeightView& weight, const BlockRow& x, float* out, bool accumulate,
                         const WeightView* next) = nullptr;
    int64_t vector_tokens = 0;
    // For AMX: the tile in so many planes of signed bytes. Null without it.
    int planes = 0;
    void (*pack_planes)(const WeightView& weight, BlockTile& tile) = nullptr;
};

// Rows of activations for blocks, in blocks of kAmxTokens, the last row again where a block lacks any: values [blocks,
// whole_columns / kAmxColumns, kAmxTokens, kAmxColumns], scales [blocks, groups, kAmxTokens], sums [blocks, halves,
// kAmxTokens, 8].
struct AmxBlockActivations {
    static constexpr int64_t kHalfColumns = 128;

    int8_t* values;
    float* scales;
    int16_t* sums;
    int64_t columns, group, tokens;

    int64_t whole_columns() const { return (columns + kAmxColumns - 1) / kAmxColumns * kAmxColumns; }
    int64_t groups() const { return columns / group; }
    int64_t halves() const { return (columns + kHalfColumns - 1) / kHalfColumns; }
};

// Blocks times many rows; BlockKernels::matrix gives the same bits.
struct AmxBlockKernels {
    void (*gather)(const BlockRow* x, AmxBlockActivations& out);
    void (*matrix)(const BlockKernels& kernels, const BlockTile& tile, const AmxBlockActivations& x, float* const* out,
                   int64_t first, bool accumulate);
};

// Codes whose factors lie apart, in tiles (tensor/row_tiles.h), times any number of rows of x, to out[t] + first on.
// `next` as for BlockKernels.
struct CodeKernels {
    // FP4 times int8 activations in the order of 4-bit weights.
    void (*bytes)(const WeightView& weight, const QuantizedRow* x, int64_t tokens, float* const* out, int64_t first,
                  bool accumulate, const WeightView* next) = nullptr;
    // FP8 times activations in float, each times kScaledUp; `sums` are kTileRows floats for every token.
    void (*floats)(const WeightView& weight, const float* const* x, int64_t tokens, float* sums, float* const* out,
                   int64_t first, bool accumulate, const WeightView* next) = nullptr;
    // The exponent of an FP8 code at the place of a float's makes it 2^120 too small.
    static constexpr float kScaledUp = 0x1p64F, kScaledDown = 0x1p56F;
};

// How one codec's weights meet activations in float, and in int8 where they can.
struct CodecKernels {
    const Codec* codec;
    DecodeColumns decode;
    // out[r] = weight row r . x; added with `accumulate`.
    void (*float_vector)(const WeightView& weight, const float* x, float* out, bool accumulate);
    const BlockKernels* blocks = nullptr;
    CodeKernels codes = {};
};

struct KernelTable {
    const char* name;
    int lanes;
    int tile_rows;
    int64_t matrix_tokens;  // from this many tokens on a packed tile beats the vector kernel
    int64_t tiled_tokens;   // up to this many tokens weights in tiles are best read where they lie

    // Affine weights, activations in int8.
    int64_t (*quantized_bytes)(int64_t columns, int bits);
    // Columns [first, first + count) of a row, whole groups; x is at the first of them. What pads a row to
    // quantized_bytes must be zero.
    void (*quantize)(const float* x, int64_t first, int64_t count, int bits, int group, int8_t* values, float* scales,
                     float* sums);
    // As `quantize`, in the order of the columns, for BlockRow.
    void (*quantize_row)(const float* x, int64_t first, int64_t count, int group, int8_t* values, float* scales,
                         int16_t* sums);
    // `next`, if any, is the weight that will be asked for after this one: its first rows are brought to the cache.
    void (*affine_vector)(const WeightView& weight, const QuantizedRow& x, float* out, bool accumulate,
                          const WeightView* next);
    // The same for a weight in tiles (tensor/row_tiles.h) and any number of rows of x, to out[t] + first on; null where
    // rows one after the other do as well.
    void (*tiled_affine_rows)(const WeightView& weight, const QuantizedRow* x, int64_t tokens, float* const* out,
                              int64_t first, bool accumulate, const WeightView* next);
    // The rows stand in either way.
    void (*affine_pack)(const WeightView& weight, AffineTile& tile);
    // Row r of the tile goes to out[t][first + r]. `next`, if any, are the rows that will be packed after this.
    void (*affine_matrix)(const AffineTile& tile, const QuantizedRow* x, int64_t tokens, float* const* out,
                          int64_t first, bool accumulate, const WeightView* next);

    // Any weight, activations in float.
    std::span<const CodecKernels> codecs;
    void (*float_matrix)(const float* weight, int64_t stride, int64_t rows, int64_t columns, const float* const* x,
                         int64_t tokens, float* const* out, int64_t first, bool accumulate);
    // c[r] = sum over k of a[r][k] * b[k], in ascending k; columns a multiple of `lanes`; added to c with `accumulate`.
    void (*multiply)(const float* a, int64_t a_stride, int64_t rows, const float* b, int64_t b_stride, int64_t depth,
                     int64_t columns, float* c, int64_t c_stride, bool accumulate);

    const Bf16Kernels* bf16 = nullptr;  // null where the processor has no BF16 products
    const AmxKernels* amx = nullptr;    // null where it has no AMX
    const AmxBlockKernels* amx_blocks = nullptr;

    AttentionKernel attention;
    AttentionKernel rounded_attention;  // may round its operands to BF16

    // The gated delta rule.
    void (*delta_rows)(const DeltaRows& rows);
    float (*dot)(const float* a, const float* b, int64_t count);

    // Rows of floats.
    void (*rms_norm)(const float* x, const float* weight, int64_t count, float epsilon, float* out);
    // The first gates with silu, the second with a sigmoid.
    void (*gated_rms_norm[2])(const float* x, const float* z, const float* weight, int64_t count, float epsilon,
                              float* out);
    void (*normalize_l2)(const float* x, int64_t count, float epsilon, float scale, float* out);
    void (*silu_multiply)(const float* gate, const float* up, int64_t count, float* out);
    void (*sigmoid_multiply)(const float* gate, int64_t count, float* x);
    void (*sigmoid)(const float* x, int64_t count, float* out);
    void (*softmax)(const float* x, int64_t count, float* out);
    void (*add_scaled)(const float* x, float factor, int64_t count, float* out);
    void (*convolve_silu)(const float* const* taps, const float* weights, int64_t kernel, int64_t channels, float* out);
    void (*rotate_halves)(float* first, float* second, const float* cosine, const float* sine, int64_t count);

    const CodecKernels& of(const WeightFormat& format) const;
    void decode(const WeightView& weight, int64_t row, int64_t first, int64_t count, float* out) const {
        of(weight.format).decode(weight, row, first, count, out);
    }
    void float_vector(const WeightView& weight, const float* x, float* out, bool accumulate) const {
        of(weight.format).float_vector(weight, x, out, accumulate);
    }
};

const KernelTable& scalar_kernels();
#if defined(__x86_64__)
const KernelTable& avx2_kernels();
const KernelTable& avxvnni_kernels();
const KernelTable& avx512_kernels();
const KernelTable& avx512vnni_kernels();
const KernelTable& avx512vbmi_kernels();
AttentionKernel avx512bf16_attention();
const Bf16Kernels& avx512bf16_linear();
const Bf16Kernels& amxbf16_linear();
const AmxKernels& amx_linear();
const AmxBlockKernels& amx_blocks_linear();
#endif
#if defined(__aarch64__)
const KernelTable& neon_kernels();
#endif

}  // namespace sluice
