#include "tensor/row_tiles.h"

#include <cstring>
#include <utility>

#include "tensor/dtype.h"

namespace sluice {

namespace {

// As many rows of a matrix as a vector has elements, a vector of each.
template <typename Element>
struct Square {
    static constexpr int kVectorBytes = 16;
    static constexpr int kSide = kVectorBytes / static_cast<int>(sizeof(Element));
    typedef Element Vector __attribute__((vector_size(kVectorBytes)));

    Vector rows[kSide];
};

// The lower (upper) halves of two vectors, element by element in turns.
template <typename Vector, size_t... kAt>
Vector lower_halves(Vector a, Vector b, std::index_sequence<kAt...>) {
    return __builtin_shufflevector(a, b, (kAt / 2 + kAt % 2 * sizeof...(kAt))...);
}
template <typename Vector, size_t... kAt>
Vector upper_halves(Vector a, Vector b, std::index_sequence<kAt...>) {
    return __builtin_shufflevector(a, b, (sizeof...(kAt) / 2 + kAt / 2 + kAt % 2 * sizeof...(kAt))...);
}

// Rows become columns: each step moves the lowest bit of a row's number to the front of the elements' numbers.
template <typename Element>
Square<Element> turned(Square<Element> square) {
    constexpr int kSide = Square<Element>::kSide;
    constexpr std::make_index_sequence<kSide> kElements;
    for (int step = 1; step < kSide; step *= 2) {
        Square<Element> next;
        for (int i = 0; i < kSide / 2; ++i) {
            next.rows[2 * i] = lower_halves(square.rows[i], square.rows[i + kSide / 2], kElements);
            next.rows[2 * i + 1] = upper_halves(square.rows[i], square.rows[i + kSide / 2], kElements);
        }
        square = next;
    }
    return square;
}

// [rows, columns] elements to [columns, rows]. Squares first, then what is left of columns or rows.
template <typename Element>
void turn(const std::byte* from, int64_t rows, int64_t columns, std::byte* to) {
    constexpr int64_t kSide = Square<Element>::kSide, kBytes = sizeof(Element);
    const auto place = [&](int64_t row, int64_t column) { return from + (row * columns + column) * kBytes; };
    const auto target = [&](int64_t row, int64_t column) { return to + (column * rows + row) * kBytes; };
    const int64_t whole_rows = rows - rows % kSide, whole_columns = columns - columns % kSide;
    for (int64_t column = 0; column < whole_columns; column += kSide) {
        for (int64_t row = 0; row < whole_rows; row += kSide) {
            Square<Element> square;
            for (int64_t i = 0; i < kSide; ++i)
                std::memcpy(&square.rows[i], place(row + i, column), sizeof(square.rows[i]));
            square = turned(square);
            for (int64_t i = 0; i < kSide; ++i)
                std::memcpy(target(row, column + i), &square.rows[i], sizeof(square.rows[i]));
        }
    }
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; ++column) {
            std::memcpy(target(row, column), place(row, column), sizeof(Element));
        }
    }
}

enum class Direction : uint8_t { kToTiles, kToRows };

// Every tile of a part whose rows are `row_bytes` long.
template <typename Element>
void turn_tiles(Direction direction, const std::byte* from, int64_t rows, uint64_t row_bytes, std::byte* to) {
    const int64_t elements = static_cast<int64_t>(row_bytes / sizeof(Element));
    for (int64_t row = 0; row < rows; row += kTileRows, from += kTileRows * row_bytes, to += kTileRows * row_bytes) {
        if (direction == Direction::kToTiles) {
            turn<Element>(from, kTileRows, elements, to);
        } else {
            turn<Element>(from, elements, kTileRows, to);
        }
    }
}

void turn_factors(Direction direction, const WeightView& from, const std::byte* part, uint64_t row_bytes,
                  std::byte* to) {
    if (row_bytes == 0) return;
    if (dtype_bytes(from.format.dtype) == sizeof(uint16_t)) {
        turn_tiles<uint16_t>(direction, part, from.rows, row_bytes, to);
    } else {
        turn_tiles<uint32_t>(direction, part, from.rows, row_bytes, to);
    }
}

void turn_matrix(Direction direction, const WeightView& from, const EncodedRows& to) {
    const WeightFormat& format = from.format;
    turn_tiles<uint32_t>(direction, from.data, from.rows, format.data_row_bytes(from.columns), to.data);
    turn_factors(direction, from, from.scales, format.scale_row_bytes(from.columns), to.scales);
    turn_factors(direction, from, from.zero_points, format.zero_point_row_bytes(from.columns), to.zero_points);
}

}  // namespace

bool fits_tiles(const WeightFormat& format, int64_t rows) {
    return format.tiles() && rows % kTileRows == 0;
}

void tile_rows(const WeightView& rows, const EncodedRows& tiles) {
    turn_matrix(Direction::kToTiles, rows, tiles);
}

void untile_rows(const WeightView& tiles, const EncodedRows& rows) {
    turn_matrix(Direction::kToRows, tiles, rows);
}

uint64_t turn_in_place_scratch_bytes(const WeightFormat& format, int64_t columns) {
    return kTileRows *
           (format.data_row_bytes(columns) + format.scale_row_bytes(columns) + format.zero_point_row_bytes(columns));
}

void turn_in_place(const Matrix<std::byte*>& matrix, std::span<std::byte> scratch) {
    const WeightFormat& format = matrix.format;
    for (int64_t row = 0; row < matrix.rows; row += kTileRows) {
        const Matrix<std::byte*> tile = matrix.rows_at(row, kTileRows);
        std::byte* free = scratch.data();
        const auto copy_of = [&](const std::byte* part, uint64_t row_bytes) {
            std::byte* const copy = std::exchange(free, free + kTileRows * row_bytes);
            if (row_bytes > 0) std::memcpy(copy, part, kTileRows * row_bytes);
            return copy;
        };
        WeightView copy{.format = format, .rows = kTileRows, .columns = matrix.columns, .tiled = matrix.tiled};
        copy.data = copy_of(tile.data, format.data_row_bytes(matrix.columns));
        copy.scales = copy_of(tile.scales, format.scale_row_bytes(matrix.columns));
        copy.zero_points = copy_of(tile.zero_points, format.zero_point_row_bytes(matrix.columns));
        turn_matrix(matrix.tiled ? Direction::kToRows : Direction::kToTiles, copy,
                    {tile.data, tile.scales, tile.zero_points});
    }
}

RowOfTile::RowOfTile(const WeightView& tiles, int64_t row) : view_(tiles) {
    const WeightFormat& format = tiles.format;
    const WeightView tile = tiles.rows_at(row - row % kTileRows, kTileRows);
    const auto gather = [&](const std::byte* part, uint64_t row_bytes, uint64_t element, std::vector<std::byte>& to) {
        to.resize(row_bytes);
        const std::byte* from = part + static_cast<uint64_t>(row % kTileRows) * element;
        for (uint64_t at = 0; at < row_bytes; at += element, from += kTileRows * element) {
            std::memcpy(to.data() + at, from, element);
        }
        return to.data();
    };
    const uint64_t factor = dtype_bytes(format.dtype);
    view_.rows = 1;
    view_.tiled = false;
    view_.data = gather(tile.data, format.data_row_bytes(tile.columns), kTileDwordBytes, data_);
    view_.scales = gather(tile.scales, format.scale_row_bytes(tile.columns), factor, scales_);
    view_.zero_points = gather(tile.zero_points, format.zero_point_row_bytes(tile.columns), factor, zero_points_);
}

}  // namespace sluice
