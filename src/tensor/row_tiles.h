#pragma once

// Rows in tiles. A vector register holds the same columns of kTileRows rows where those lie side by side; and what a
// kernel reads of all of them is one stream of memory. So of every kTileRows rows of a tiled matrix
//
//  - the data are [bytes of a row / 4][kTileRows] dwords: first the first four bytes of every row, then the next four;
//    where each block of a row has two bytes or one apart (Codec::lone_word), those follow behind the dwords of all
//    blocks, as [blocks of a row][kTileRows] words, or bytes;
//  - scales, and zero points, are [groups of a row][kTileRows]; those that rows share stay as they are.
//
// Whole tiles lie where their rows would lie otherwise, so every part keeps its size, and rows_at() its arithmetic.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tensor/codec.h"
#include "tensor/matrix.h"

namespace sluice {

inline constexpr int64_t kTileDwordBytes = 4;

// Whether such a matrix can stand in tiles: its codec has them, and its rows are whole tiles of whole dwords.
bool fits_tiles(const WeightFormat& format, int64_t rows, int64_t columns);

// Both copy a matrix that fits tiles from one form to the other. Thread-safe.
void tile_rows(const WeightView& rows, const EncodedRows& tiles);
void untile_rows(const WeightView& tiles, const EncodedRows& rows);

// The same where it lies: to tiles, or back where `matrix` says that it is tiled. Thread-safe.
void turn_in_place(const Matrix<std::byte*>& matrix, std::span<std::byte> scratch);
uint64_t turn_in_place_scratch_bytes(const WeightFormat& format, int64_t columns);

// A copy of one row of a tiled matrix.
class RowOfTile {
  public:
    RowOfTile(const WeightView& tiles, int64_t row);
    const WeightView& view() const { return view_; }

  private:
    std::vector<std::byte> data_, scales_, zero_points_;
    WeightView view_;
};

}  // namespace sluice
