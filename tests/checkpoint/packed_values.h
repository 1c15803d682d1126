#pragma once

// The weights of two checkpoints, side by side.

#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"

namespace sluice::testing {

// A projection of an expert, or a matrix of the trunk, as floats.
std::vector<float> expert_values(const Checkpoint& checkpoint, int layer, int expert, Projection projection);
std::vector<float> trunk_values(const Checkpoint& checkpoint, int layer, Role role);

// Root mean square of the difference, relative to that of `expected`.
double relative_error(const std::vector<float>& values, const std::vector<float>& expected);

// Every weight of both is the same float; a test failure names the first that is not.
void expect_same_weights(const Checkpoint& a, const Checkpoint& b);

}  // namespace sluice::testing
