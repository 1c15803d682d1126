#pragma once

#include <string>

#include "checkpoint/model_config.h"

namespace sluice {

// Throws kUnsupported for a setting that ModelConfig can say and no operation computes yet, naming it and the layer;
// `label` is the config's name in messages.
void require_implemented(const ModelConfig& config, const std::string& label);

}  // namespace sluice
