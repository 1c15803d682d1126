#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/weight_format.h"

namespace sluice {

// `bytes` further on: what a Place of a Matrix must be able to say, to have rows taken out of it.
inline const std::byte* further(const std::byte* place, uint64_t bytes) {
    return place + bytes;
}
inline std::byte* further(std::byte* place, uint64_t bytes) {
    return place + bytes;
}
inline uint64_t further(uint64_t place, uint64_t bytes) {
    return place + bytes;
}

// Rows of a tile: see row_tiles.h.
inline constexpr int64_t kTileRows = 16;

// Throw kUsage unless rows [first, first + count) lie inside of `rows`, and are whole tiles.
void check_rows(int64_t first, int64_t count, int64_t rows);
void check_tiles(int64_t first, int64_t count);

// A weight matrix [rows, columns] as stored. A Place says where a part of it lies: in a file, in an expert's record, in
// a buffer of a backend, in memory. `scales` and `zero_points` are Place{} where the format has none;
// a zero point is what a code of 0 stands for, in the scales' type (MLX: `biases`).
template <typename Place>
struct Matrix {
    WeightFormat format;
    int64_t rows = 0;
    int64_t columns = 0;
    Place data{}, scales{}, zero_points{};
    int64_t block_row_offset = 0;  // row of the whole matrix at which this one starts, modulo group_rows
    bool tiled = false;            // rows stand in tiles instead of one after the other: see row_tiles.h

    // Rows [first, first + count); whole tiles where they stand in tiles.
    Matrix rows_at(int64_t first, int64_t count) const {
        check_rows(first, count, rows);
        if (tiled) check_tiles(first, count);
        const int64_t row = block_row_offset + first;
        const auto groups_before = static_cast<uint64_t>(row / format.group_rows);
        Matrix part = *this;
        part.rows = count;
        part.data = further(data, static_cast<uint64_t>(first) * format.data_row_bytes(columns));
        if (format.has_scales()) part.scales = further(scales, groups_before * format.scale_row_bytes(columns));
        if (format.has_zero_points()) {
            part.zero_points = further(zero_points, groups_before * format.zero_point_row_bytes(columns));
        }
        part.block_row_offset = row % format.group_rows;
        return part;
    }

    // The same matrix where at(place) says that each of its parts lies.
    template <typename Function>
    auto placed(Function&& at) const {
        using Other = decltype(at(data));
        return Matrix<Other>{.format = format,
                             .rows = rows,
                             .columns = columns,
                             .data = at(data),
                             .scales = format.has_scales() ? at(scales) : Other{},
                             .zero_points = format.has_zero_points() ? at(zero_points) : Other{},
                             .block_row_offset = block_row_offset,
                             .tiled = tiled};
    }
};

// In host memory; nothing is aligned.
using WeightView = Matrix<const std::byte*>;

}  // namespace sluice
