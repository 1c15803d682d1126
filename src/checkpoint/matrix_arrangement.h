#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "checkpoint/checkpoint.h"
#include "checkpoint/matrix_form.h"

namespace sluice {

// Where the published parts of a matrix are put before it is arranged: in the places of the format's parts, or behind
// each other. Offsets as those of the layout.
struct LandingPlaces {
    uint64_t data, scales, factors;  // factors: zero points, or a factor of the whole
};
LandingPlaces landing_places(const StoredForm& stored, const ProjectionLayout& matrix);

// Bytes of memory that arrange_matrix() needs beside the matrix.
uint64_t matrix_scratch_bytes(const StoredForm& stored, const ProjectionLayout& matrix);

// Makes of published parts at their landing places those of the format, which stand at the layout's offsets from
// `base`. `scratch` is of matrix_scratch_bytes().
void arrange_matrix(const StoredForm& stored, const ProjectionLayout& matrix, std::byte* base,
                    std::span<std::byte> scratch);

// Columns of a matrix become rows of another: of `columns` that follow each other in a stored row, out is
// [columns, stored_rows]. In elements of 2 or 4 bytes.
struct StoredMatrix {
    const std::byte* data;
    int64_t first, step, stride;  // row r of the result is column first + r * step of rows of `stride` elements
};
template <typename Element>
void transpose(const StoredMatrix& from, int64_t rows, int64_t columns, std::byte* to);

}  // namespace sluice
