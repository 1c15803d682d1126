// Operations that backends of the host have alone.

#include <fmt/core.h>

#include "backend/cuda/compute.h"

namespace sluice::cuda {

namespace {

[[noreturn]] void refuse_operation(const char* name) {
    refuse(fmt::format("CUDA has no {}; `device` cpu has", name));
}

}  // namespace

void compute(Device&, const AppendRows& op) {
    refuse_operation(op.kName);
}

void compute(Device&, const SelectTokens& op) {
    refuse_operation(op.kName);
}

void compute(Device&, const SharedKeyAttention& op) {
    refuse_operation(op.kName);
}

}  // namespace sluice::cuda
