#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace sluice {

// Bytes per second at which slots of the host's memory fill those of the backend, records of `slot_bytes` one after the
// other. Takes some milliseconds.
double measure_link(Backend& backend, uint64_t slot_bytes);

}  // namespace sluice
