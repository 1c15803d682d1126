#pragma once

#include "checkpoint/model_config.h"
#include "sluice/checkpoint_tools.h"

namespace sluice {

// Fills in what config.json alone decides: all but formats, bytes of weights, and files.
void describe_config(const ModelConfig& config, ModelReport& report);

}  // namespace sluice
