#pragma once

// Float tensors to a safetensors file that any Python can open.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sluice/error.h"

namespace sluice {

struct NamedTensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;  // as many as the product of `shape`, row-major
};

// Writes them as F32 under their names; the file appears only when it is whole. Throws kUsage for values that
// contradict a shape, kIo for what the system refuses.
void write_float_tensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors);

}  // namespace sluice
