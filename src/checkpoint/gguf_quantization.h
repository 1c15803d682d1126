#pragma once

#include "checkpoint/architecture.h"
#include "checkpoint/quantization_config.h"
#include "gguf/gguf_header.h"

namespace sluice {

// How the tensors of a model are stored, from one part of it: each role as most of its tensors there are, what is not
// there as `general.file_type` says, which may lie.
QuantizationConfig gguf_quantization(const GgufHeader& part, const Architecture& architecture);

}  // namespace sluice
