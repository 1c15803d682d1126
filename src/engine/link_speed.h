#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace sluice {

// Bytes per second at which slots of the host's memory fill those of the backend, records of `slot_bytes` one after the
// other. Takes some milliseconds.
double measure_link(Backend& backend, uint64_t slot_bytes);

// Seconds for a row of so many numbers from the backend's memory to the host and back.
double measure_row_trip(Backend& backend, int64_t columns);

}  // namespace sluice
