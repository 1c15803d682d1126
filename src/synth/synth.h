#pragma once

#include <cstdint>
#include <filesystem>

#include "sluice/synthesize.h"
#include "synth/synth_presets.h"

namespace sluice {

// synthesize() for any shape, for instance one small enough for a test. The hidden size is a multiple of 64 and at
// least 128, and so is what the affine encodings group.
void synthesize_shape(const std::filesystem::path& target, const SynthShape& shape, SynthEncoding encoding,
                      uint64_t seed, const BytesCallback& progress = {});

}  // namespace sluice
