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

// Rows of elements, so many bytes apart.
template <typename Byte>
struct Lines {
    Byte* first;
    int64_t stride;

    Byte* at(int64_t row, int64_t byte) const { return first + row * stride + byte; }
};
using From = Lines<const std::byte>;
using To = Lines<std::byte>;

// [rows, columns] elements to [columns, rows]. Squares first, then what is left of columns or rows.
template <typename Element>
void turn(const From& from, int64_t rows, int64_t columns, const To& to) {
    constexpr int64_t kSide = Square<Element>::kSide, kBytes = sizeof(Element);
    const auto place = [&](int64_t row, int64_t column) { return from.at(row, column * kBytes); };
    const auto target = [&](int64_t row, int64_t column) { return to.at(column, row * kBytes); };
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

// `elements` of every row of a tile: a row's are at `rows`, those of all rows from `tile` on; one of the two is `from`.
template <typename Element>
void turn_elements(Direction direction, int64_t elements, const std::byte* from, int64_t row_bytes, std::byte* to) {
    constexpr int64_t kLine = kTileRows * static_cast<int64_t>(sizeof(Element));
    if (direction == Direction::kToTiles) {
        turn<Element>({from, row_bytes}, kTileRows, elements, {to, kLine});
    } else {
        turn<Element>({from, kLine}, elements, kTileRows, {to, row_bytes});
    }
}

// Every tile of a part whose rows are `row_bytes` long.
template <typename Element>
void turn_tiles(Direction direction, const std::byte* from, int64_t rows, uint64_t row_bytes, std::byte* to) {
    const auto stride = static_cast<int64_t>(row_bytes), elements = stride / static_cast<int64_t>(sizeof(Element));
    for (int64_t row = 0; row < rows; row += kTileRows, from += kTileRows * stride, to += kTileRows * stride) {
        turn_elements<Element>(direction, elements, from, stride, to);
    }
}

// A row of blocks of dwords and a word, or a byte: where the parts of block `index` lie in the row, and in a tile.
struct LoneWords {
    int64_t word, block_bytes, blocks;

    int64_t word_bytes() const { return block_bytes % kTileDwordBytes; }
    int64_t dword_bytes() const { return block_bytes - word_bytes(); }
    int64_t word_of_row(int64_t index) const { return index * block_bytes + word; }
    int64_t dwords_of_row(int64_t index) const { return index * block_bytes + (word == 0 ? word_bytes() : 0); }
    int64_t word_of_tile(int64_t index) const { return kTileRows * (blocks * dword_bytes() + index * word_bytes()); }
    int64_t dwords_of_tile(int64_t index) const { return kTileRows * index * dword_bytes(); }
};

LoneWords lone_words(const WeightView& w) {
    const DataBlock block = w.format.codec->block(w.format);
    return {w.format.codec->lone_word, block.bytes, w.columns / block.columns};
}

void turn_data(Direction direction, const WeightView& from, std::byte* to) {
    const uint64_t row_bytes = from.format.data_row_bytes(from.columns);
    if (from.format.codec->lone_word < 0) {
        return turn_tiles<uint32_t>(direction, from.data, from.rows, row_bytes, to);
    }
    const LoneWords parts = lone_words(from);
    const auto stride = static_cast<int64_t>(row_bytes);
    const bool to_tiles = direction == Direction::kToTiles;
    for (int64_t row = 0; row < from.rows; row += kTileRows) {
        const std::byte* const source = from.data + row * stride;
        std::byte* const target = to + row * stride;
        const auto turn_part = [&]<typename Element>(Element, int64_t bytes, int64_t of_row, int64_t of_tile) {
            turn_elements<Element>(direction, bytes / static_cast<int64_t>(sizeof(Element)),
                                   source + (to_tiles ? of_row : of_tile), stride,
                                   target + (to_tiles ? of_tile : of_row));
        };
        for (int64_t b = 0; b < parts.blocks; ++b) {
            turn_part(uint32_t{}, parts.dword_bytes(), parts.dwords_of_row(b), parts.dwords_of_tile(b));
            if (parts.word_bytes() == sizeof(uint8_t)) {
                turn_part(uint8_t{}, parts.word_bytes(), parts.word_of_row(b), parts.word_of_tile(b));
            } else {
                turn_part(uint16_t{}, parts.word_bytes(), parts.word_of_row(b), parts.word_of_tile(b));
            }
        }
    }
}

// Bytes of scales that a row has to itself.
uint64_t own_scale_bytes(const WeightFormat& format, int64_t columns) {
    return format.group_rows == 1 ? format.scale_row_bytes(columns) : 0;
}

void turn_factors(Direction direction, const WeightView& from, const std::byte* part, uint64_t row_bytes,
                  std::byte* to) {
    if (row_bytes == 0) return;
    switch (dtype_bytes(from.format.dtype)) {
        case sizeof(uint8_t):
            return turn_tiles<uint8_t>(direction, part, from.rows, row_bytes, to);
        case sizeof(uint16_t):
            return turn_tiles<uint16_t>(direction, part, from.rows, row_bytes, to);
        default:
            return turn_tiles<uint32_t>(direction, part, from.rows, row_bytes, to);
    }
}

void turn_matrix(Direction direction, const WeightView& from, const EncodedRows& to) {
    const WeightFormat& format = from.format;
    turn_data(direction, from, to.data);
    turn_factors(direction, from, from.scales, own_scale_bytes(format, from.columns), to.scales);
    turn_factors(direction, from, from.zero_points, format.zero_point_row_bytes(from.columns), to.zero_points);
}

// Those of several rows, where they are wanted.
void copy_shared_scales(const WeightView& from, std::byte* to) {
    const WeightFormat& format = from.format;
    if (format.group_rows == 1 || to == nullptr) return;
    std::memcpy(to, from.scales, format.scale_bytes(from.block_row_offset + from.rows, from.columns));
}

// Elements of a row of a tile, which begin at `from`, one after the other.
void gather_row(const std::byte* from, uint64_t bytes, uint64_t element, std::byte* to) {
    for (uint64_t at = 0; at < bytes; at += element, from += kTileRows * element) {
        std::memcpy(to + at, from, element);
    }
}

std::vector<std::byte> data_of_row(const WeightView& tile, int64_t row) {
    std::vector<std::byte> data(tile.format.data_row_bytes(tile.columns));
    const std::byte* const first = tile.data + row * kTileDwordBytes;
    if (tile.format.codec->lone_word < 0) {
        gather_row(first, data.size(), kTileDwordBytes, data.data());
        return data;
    }
    const LoneWords parts = lone_words(tile);
    const auto dword_bytes = static_cast<uint64_t>(parts.dword_bytes());
    for (int64_t b = 0; b < parts.blocks; ++b) {
        gather_row(first + parts.dwords_of_tile(b), dword_bytes, kTileDwordBytes, data.data() + parts.dwords_of_row(b));
        std::memcpy(data.data() + parts.word_of_row(b), tile.data + parts.word_of_tile(b) + row * parts.word_bytes(),
                    static_cast<size_t>(parts.word_bytes()));
    }
    return data;
}

}  // namespace

bool fits_tiles(const WeightFormat& format, int64_t rows, int64_t columns) {
    const bool whole = format.codec->lone_word >= 0 || format.data_row_bytes(columns) % kTileDwordBytes == 0;
    return format.tiles() && rows % kTileRows == 0 && whole;
}

void tile_rows(const WeightView& rows, const EncodedRows& tiles) {
    turn_matrix(Direction::kToTiles, rows, tiles);
    copy_shared_scales(rows, tiles.scales);
}

void untile_rows(const WeightView& tiles, const EncodedRows& rows) {
    turn_matrix(Direction::kToRows, tiles, rows);
    copy_shared_scales(tiles, rows.scales);
}

uint64_t turn_in_place_scratch_bytes(const WeightFormat& format, int64_t columns) {
    return kTileRows *
           (format.data_row_bytes(columns) + own_scale_bytes(format, columns) + format.zero_point_row_bytes(columns));
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
        copy.scales = copy_of(tile.scales, own_scale_bytes(format, matrix.columns));
        copy.zero_points = copy_of(tile.zero_points, format.zero_point_row_bytes(matrix.columns));
        turn_matrix(matrix.tiled ? Direction::kToRows : Direction::kToTiles, copy,
                    {tile.data, tile.scales, tile.zero_points});
    }
}

RowOfTile::RowOfTile(const WeightView& tiles, int64_t row) : view_(tiles) {
    const WeightFormat& format = tiles.format;
    const int64_t inside = row % kTileRows;
    const WeightView tile = tiles.rows_at(row - inside, kTileRows);
    const uint64_t factor = dtype_bytes(format.dtype);
    const auto factors = [&](const std::byte* part, uint64_t row_bytes, std::vector<std::byte>& to) {
        to.resize(row_bytes);
        if (row_bytes > 0) gather_row(part + static_cast<uint64_t>(inside) * factor, row_bytes, factor, to.data());
        return to.data();
    };
    view_.rows = 1;
    view_.tiled = false;
    data_ = data_of_row(tile, inside);
    view_.data = data_.data();
    view_.scales = factors(tile.scales, own_scale_bytes(format, tile.columns), scales_);
    if (format.group_rows > 1) {
        view_.block_row_offset = 0;
        const auto block_row = static_cast<uint64_t>((tile.block_row_offset + inside) / format.group_rows);
        view_.scales = tile.scales + block_row * format.scale_row_bytes(tile.columns);
    }
    view_.zero_points = factors(tile.zero_points, format.zero_point_row_bytes(tile.columns), zero_points_);
}

}  // namespace sluice
