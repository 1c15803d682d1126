#pragma once

#include "backend/backend.h"
#include "experts/expert_store.h"

namespace sluice {

// The bytes of experts a second that a backend multiplies with one row, as a token of one sequence asks; 0 for a model
// without experts. Takes some hundredths of a second.
double measure_kernels(const Checkpoint& checkpoint, const ExpertStoreOptions& how, Backend& backend);

}  // namespace sluice
