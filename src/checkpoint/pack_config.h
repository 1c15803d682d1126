#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/pack_plan.h"

namespace sluice {

// config.json of the packed checkpoint: the source's text, with MLX's quantization tables where the trunk was
// quantized.
std::string packed_config_text(const std::string& source_text, const PackPlan& plan);

// Copies what else a model needs: tokenizer, chat template, generation settings, licence.
void copy_companion_files(const std::filesystem::path& source, const std::filesystem::path& target);

// model.safetensors.index.json for more than one file.
std::string packed_index_text(const PackPlan& plan);

}  // namespace sluice
