#pragma once

#include "backend/cuda/matrix.h"

namespace sluice::cuda {

// Rows of F32 and where they go as BF16: `parts` times [count, columns], `part_step` numbers after one another in x,
// one after the other in `out`, whose rows are whole chunks in `order`, with zeros behind the last column.
struct RowsToRound {
    const float* x;
    const float* up;  // where there is one, activation(x, up) of `product` is rounded
    int64_t stride, columns, count;
    int64_t parts, part_step;
    uint16_t* out;
    ColumnOrder order;
};
void round_rows(Device& device, const RowsToRound& rows, const Product& product);

// Lists of tiles, by how many rows they have at most: 64, 128 and 256. A job's rows are cut into tiles of the widest
// that is allowed; what is left goes to the narrowest that takes it.
struct TileLists {
    static constexpr int kWidths = 3;
    static __host__ __device__ constexpr int rows(int width) { return 64 << width; }

    RowTile* tiles[kWidths];
    int32_t* counts;  // [kWidths]
    int32_t widest;
};
// Of jobs [first, end) of `jobs`, whose counts the device alone may know. `place` has room for tile_list_bytes.
uint64_t tile_list_bytes(int jobs, int64_t all_rows);
TileLists tile_lists_at(std::byte* place, int jobs, int64_t all_rows, int widest);
struct JobRange {
    int32_t first = 0, end = 0, jobs = 0;
    bool operator==(const JobRange&) const = default;
};
void list_tiles(Device& device, const Product& product, const JobRange& range, const TileLists& lists);

}  // namespace sluice::cuda
