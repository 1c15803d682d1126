#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "synth/synth.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {

// A preset's architecture in sizes that a test can write: hidden 192, a vocabulary of 512, 16 experts of 64.
SynthShape tiny_shape(const std::string& preset, int64_t layers);

// Names of the files in a folder, sorted.
std::vector<std::string> files_in(const std::filesystem::path& folder);

}  // namespace sluice::testing
