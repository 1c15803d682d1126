#pragma once

#include <optional>
#include <string>

#include "checkpoint/catalogue.h"

namespace sluice {

// The first weight that holds a NaN or an infinity, as a sentence; nothing when all are finite. Reads everything.
std::optional<std::string> find_non_finite_weight(const Checkpoint& checkpoint, const Catalogue& catalogue);

}  // namespace sluice
