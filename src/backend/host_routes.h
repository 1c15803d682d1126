#pragma once

#include "backend/operations.h"

namespace sluice {

// The same as an operation over the experts that were chosen, on a backend of the host. Throws kUsage, naming the
// field, for an id without an expert and a slot outside the memory.
GatedMlp grouped(const RoutedMlp& op);

// Whole records, at once.
void fetch(const FetchExperts& op);

}  // namespace sluice
