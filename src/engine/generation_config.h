#pragma once

#include <filesystem>

#include "sluice/engine.h"

namespace sluice {

// Sampling defaults and end-of-sequence ids of a checkpoint: generation_config.json, or the metadata of a
// GGUF file, else config.json (also nested in
// text_config), plus the tokenizer's own eos_token. Greedy where generation_config says do_sample false or nothing; its
// repetition_penalty counts all the same.
// Throws kInvalidFile naming file and field.
GenerationDefaults read_generation_defaults(const std::filesystem::path& folder, const Tokenizer* tokenizer);

}  // namespace sluice
