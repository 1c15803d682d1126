#pragma once

#include <span>
#include <string>

#include "checkpoint/checkpoint.h"

namespace sluice {

// A digest of samples of the files' bytes, which tells apart models of equal configs and headers: fine-tunes of one
// base. At most 64 pages of 4 KB a file, spread evenly, and one in the middle of each of `parts` (the trunk's tensors:
// a fine-tune may change the smallest of them alone), so that it takes milliseconds whatever the files hold; a change
// of a few bytes may therefore go unseen. Throws kNotFound or kIo.
std::string sampled_data_digest(std::span<const CheckpointFile> files, std::span<const ByteRange> parts);

}  // namespace sluice
