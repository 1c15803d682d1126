#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace sluice {

// A stand-in for a device, to prove that code above keeps to the rules of Backend. It computes as the reference backend
// does, bit for bit, but late and elsewhere: on a thread of its own that waits a random while unless somebody waits for
// it, in buffers that are nobody's host memory. adopt() copies, late; a slot's landing area is apart from the slot,
// copied in queue order and then filled with 0xff; so is a slot that was discarded; the target of a download holds 0xff
// until wait(), and mark() never returns null.
std::unique_ptr<Backend> make_queued_backend(uint64_t seed = 1);

}  // namespace sluice
