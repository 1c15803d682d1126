#pragma once

#include "checkpoint/model_config.h"
#include "sluice/model_report.h"

namespace sluice {

// Fills in what config.json alone decides: all but formats, bytes of weights, and files.
void describe_config(const ModelConfig& config, ModelReport& report);

}  // namespace sluice
