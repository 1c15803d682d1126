#pragma once

#include <filesystem>
#include <string>

#include "tests/support/gguf_writer.h"

namespace sluice::testing {

enum class TwinType { kF32, kQ8_0 };

// The same model in GGUF, with what converters do to names, order of rows and norms. `model` is a checkpoint in
// safetensors; the matrices are stored as `type` where their rows allow it.
GgufWriter gguf_twin(const std::filesystem::path& model, TwinType type);
// Whether there is one for this family.
bool has_gguf_twin(const std::filesystem::path& model);

}  // namespace sluice::testing
