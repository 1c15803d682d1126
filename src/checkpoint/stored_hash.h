#pragma once

#include "checkpoint/checkpoint.h"

namespace sluice {

// Of the n-grams of a layer: what the checkpoint stores, and else what follows from its config. Throws kInvalidFile,
// naming file and tensor, for one that leads out of the table.
NGramHash stored_hash(const Checkpoint& checkpoint, int layer);

}  // namespace sluice
