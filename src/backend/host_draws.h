#pragma once

#include <cstdint>
#include <span>

#include "backend/operations/drawing.h"

namespace sluice {

// What DrawToken draws from a row, in host memory.
int32_t draw_token(std::span<const float> row, const DrawSettings& settings);
// All its rows.
void draw_tokens(const DrawToken& op);

}  // namespace sluice
