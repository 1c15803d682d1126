#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace sluice {

// How publishers store a matrix whose parts are not those of any format here. It is read as it lies in the files and
// arranged when all of it is there.
enum class MatrixForm : uint8_t {
    kAsFormat,
    kSymmetric,     // affine codes without zero points: half of their range stands for 0
    kAsymmetric,    // compressed-tensors: a zero point is a code, [rows / 8, groups]
    kAwq,           // codes [columns, rows / 8] in an order of their own, zero points so, scales [groups, rows]
    kGptq,          // codes [columns / 8, rows], zero points [groups, rows / 8] less one, scales [groups, rows]
    kGptq2,         // the same with zero points as they are
    kNvfp4,         // codes as MLX has them, E4M3 scales [rows, columns / 16], a factor of the whole matrix
    kNvfp4Divided,  // the same, divided by the factor
};

// A form, and of which type its scales are.
struct StoredForm {
    MatrixForm form = MatrixForm::kAsFormat;
    DType scales = DType::kF32;

    bool as_format() const { return form == MatrixForm::kAsFormat; }
    bool operator==(const StoredForm&) const = default;
};

}  // namespace sluice
