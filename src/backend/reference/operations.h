#pragma once

#include "backend/latent_forms.h"
#include "backend/operations.h"

// Every operation in plain loops, float32 in memory, sums in double so that the order of adding does not show. Shapes
// were checked by Backend::run; buffers are host buffers.
namespace sluice::reference {

#define SLUICE_COMPUTE(Op) void compute(const Op& op);
SLUICE_OPERATIONS(SLUICE_COMPUTE)
SLUICE_LATENT_FORMS(SLUICE_COMPUTE)
#undef SLUICE_COMPUTE

}  // namespace sluice::reference
