#include "tensor/row_tiles.h"

#include <cstring>

#include "tensor/dtype.h"

namespace sluice {

namespace {

// [rows, columns] elements of kBytes to [columns, rows].
template <int kBytes>
void turn(const std::byte* from, int64_t rows, int64_t columns, std::byte* to) {
    for (int64_t column = 0; column < columns; ++column) {
        for (int64_t row = 0; row < rows; ++row, to += kBytes) {
            std::memcpy(to, from + (row * columns + column) * kBytes, kBytes);
        }
    }
}

enum class Direction : uint8_t { kToTiles, kToRows };

// Every tile of a part whose rows are `row_bytes` of elements of kBytes.
template <int kBytes>
void turn_tiles(Direction direction, const std::byte* from, int64_t rows, uint64_t row_bytes, std::byte* to) {
    const auto elements = static_cast<int64_t>(row_bytes) / kBytes;
    for (int64_t row = 0; row < rows; row += kTileRows, from += kTileRows * row_bytes, to += kTileRows * row_bytes) {
        if (direction == Direction::kToTiles) {
            turn<kBytes>(from, kTileRows, elements, to);
        } else {
            turn<kBytes>(from, elements, kTileRows, to);
        }
    }
}

void turn_factors(Direction direction, const WeightView& from, const std::byte* part, uint64_t row_bytes,
                  std::byte* to) {
    if (row_bytes == 0) return;
    if (dtype_bytes(from.format.dtype) == sizeof(uint16_t)) {
        turn_tiles<sizeof(uint16_t)>(direction, part, from.rows, row_bytes, to);
    } else {
        turn_tiles<sizeof(float)>(direction, part, from.rows, row_bytes, to);
    }
}

void turn_matrix(Direction direction, const WeightView& from, const EncodedRows& to) {
    const WeightFormat& format = from.format;
    turn_tiles<kTileDwordBytes>(direction, from.data, from.rows, format.data_row_bytes(from.columns), to.data);
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
