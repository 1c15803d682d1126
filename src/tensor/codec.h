#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tensor/matrix.h"

namespace sluice {

// Values of a row that are stored together: `columns` of them take `bytes` of the data.
struct DataBlock {
    int columns;
    int bytes;
};

// The same for all formats of a codec.
template <int kColumns, int kBytes>
DataBlock fixed_block(const WeightFormat&) {
    return {kColumns, kBytes};
}

// A number that a codec leaves open, as packed files name it. Without choices it is any from 1 to kLargest.
struct FormatParameter {
    static constexpr int kLargest = 1 << 16;

    std::string_view name;
    int WeightFormat::*value;
    std::span<const int> choices{};

    bool allows(int number) const;
};

// Where an encoder puts what it makes: data_bytes, scale_bytes and zero_point_bytes of the format; null where it has
// none.
struct EncodedRows {
    std::byte* data = nullptr;
    std::byte* scales = nullptr;
    std::byte* zero_points = nullptr;
};

// One way to store weights: a row of the table in codecs.h, a source file and a test of its own.
struct Codec {
    std::string_view name;    // as packed files and, where it is MLX's, config.json say it
    WeightFormat standard{};  // the format with every open number at its usual value

    // What formats of the codec may choose.
    std::span<const DType> dtypes{};  // none: that of `standard`
    bool dtype_stated = false;        // packed files name it also where it is that of `standard`
    std::span<const FormatParameter> parameters{};

    bool scales = false;
    bool zero_points = false;
    bool ragged = false;                                  // the last group of a row, and of the rows, may be short
    bool (*tiles)(const WeightFormat& format) = nullptr;  // whether rows may stand in tiles: row_tiles.h; null: never
    bool packed_in_tiles = true;                          // packed files have those rows in tiles
    int lone_word = -1;  // the bytes, two or one, of a block that belong to no dword of a tile; -1: a block is dwords
    DataBlock (*block)(const WeightFormat& format) = nullptr;
    std::string (*describe)(const WeightFormat& format) = nullptr;  // null: the name

    // The definition of the format's values: one row to `columns` floats, in float32. Thread-safe.
    void (*decode_row)(const WeightView& weight, int64_t row, float* out) = nullptr;
    // Row-major floats [rows, columns] to the format, which is supported and whose runs divide the columns. Throws
    // kInvalidFile for a value that is not finite. Thread-safe. Null: this program does not make such weights.
    void (*encode)(const WeightFormat& format, const float* values, int64_t rows, int64_t columns,
                   const EncodedRows& out) = nullptr;

    // "affine has bits of 2, 3, 4, 5, 6 or 8, group_size of 32, 64 or 128, F32, F16 or BF16", for messages.
    std::string choices() const;
};

}  // namespace sluice
