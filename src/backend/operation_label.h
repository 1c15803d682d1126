#pragma once

#include <fmt/core.h>

#include <string>

#include "backend/ops.h"

namespace sluice {

// What a profile files an operation under: its name, and for one matrix its shape.
template <typename Op>
std::string operation_label(const Op& op) {
    (void)op;
    return Op::kName;
}
inline std::string operation_label(const Linear& op) {
    return fmt::format("{} {} x {}", Linear::kName, op.weight.rows, op.weight.columns);
}

}  // namespace sluice
