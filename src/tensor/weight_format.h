#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tensor/dtype.h"

namespace sluice {

struct Codec;
extern const Codec kFloatCodec;

// How the numbers of a weight matrix [rows, columns] are stored: a codec and what it leaves open. Rows are outputs,
// columns inputs. Make one by the functions below or from a codec's `standard`.
struct WeightFormat {
    const Codec* codec = &kFloatCodec;
    DType dtype = DType::kF32;  // of the elements of plain floats, else of the scales
    int bits = 0;               // of a code; 0 for plain floats
    int group_size = 0;         // columns that share a scale; 0 where there are none or all do
    int group_rows = 1;         // rows that share a scale

    bool operator==(const WeightFormat&) const = default;

    static WeightFormat floating(DType dtype);
    static WeightFormat affine(int bits, int group_size, DType scale_dtype);
    static WeightFormat fp8_block(int block_rows, int block_columns, DType scale_dtype = DType::kF32);

    bool has_scales() const;
    bool has_zero_points() const;
    // A row is stored in whole runs of so many columns: the larger of block and group; 1 where both may be cut short.
    int64_t run_columns() const;

    // Bytes of one row's data, scales and zero points; a row of scales serves group_rows rows.
    uint64_t data_row_bytes(int64_t columns) const;
    uint64_t scale_row_bytes(int64_t columns) const;
    uint64_t zero_point_row_bytes(int64_t columns) const;
    // Bytes of the whole part for a matrix of this size.
    uint64_t data_bytes(int64_t rows, int64_t columns) const;
    uint64_t scale_bytes(int64_t rows, int64_t columns) const;
    uint64_t zero_point_bytes(int64_t rows, int64_t columns) const;

    bool tiles() const;  // whether rows may stand in tiles: row_tiles.h

    // Whether everything that the codec leaves open is among its choices, and the rest is as it must be.
    bool supported() const;

    std::string describe() const;  // "affine 4-bit, group 64", "FP8 128x128", "BF16"
};

}  // namespace sluice
