#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/weight_resolver.h"

namespace sluice {

// A table of which a pass reads a few rows, and which is never in memory as a whole: parts that lie one after the
// other, of any number of rows each.
struct RowTableSource {
    std::vector<WeightSource> parts;  // all of one format; that of a row alone where a scale is common to all
    std::vector<int64_t> first_rows;  // of each part
    ByteRange common_scale;           // of all rows; no bytes: each has its own, or none

    const WeightFormat& format() const { return parts.front().format; }
    int64_t columns() const { return parts.front().columns; }
    int64_t rows() const { return first_rows.back() + parts.back().rows; }
    uint64_t bytes() const;
    uint64_t row_bytes() const;  // that a row alone has

    // Data, scales and zero points of a row; no bytes where there are none.
    std::array<ByteRange, 3> row(int64_t row) const;
};

// The tensors of one, by the number of the part; what has no number is in `whole`.
struct RowTableTensors {
    std::map<int, ModuleTensors> parts;
    ModuleTensors whole;
};

// `name` is that of the table's module; `rows` are the least that it may have. Throws as WeightResolver does.
RowTableSource resolve_row_table(WeightResolver& resolver, const RowTableTensors& tensors, const std::string& name,
                                 int64_t rows, int64_t columns);

}  // namespace sluice
