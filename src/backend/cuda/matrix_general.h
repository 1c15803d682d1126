#pragma once

#include "backend/cuda/matrix.h"

namespace sluice::cuda {

// A product of decoded weights and x in the plain order, in tiles of up to kGeneralTileRows rows.
constexpr int kGeneralTileRows = 64;
void multiply_on_any_card(Device& device, const MatrixArgs& args);

}  // namespace sluice::cuda
