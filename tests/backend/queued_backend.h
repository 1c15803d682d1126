#pragma once

#include <cstdint>
#include <memory>

#include "backend/backend.h"

namespace sluice {

// A stand-in for a device, to prove that code above keeps to the rules of Backend. It computes as the reference backend
// does, bit for bit, but late and elsewhere: on a thread of its own that waits a random while unless somebody waits for
// it, in buffers that are nobody's host memory. adopt() copies, late. Expert slots have four landing areas, apart from
// them; a second queue with a thread of its own copies from there and then fills the area with 0xff, as it does with a
// slot that was discarded: an operation that is not after() the record's event finds rubbish. The target of a download
// holds 0xff until wait(), and mark() never returns null.
std::unique_ptr<Backend> make_queued_backend(uint64_t seed = 1);
// How often recordings were replayed by such a backend.
uint64_t replays_of(const Backend& backend);

}  // namespace sluice
