#pragma once

#include "text/output/output_format.h"

// One value in one file for each family; the table is in output_parser.cpp.
namespace sluice::output {

extern const OutputFormat kQwen;
extern const OutputFormat kQwenCoder;
extern const OutputFormat kGlm;
extern const OutputFormat kDeepseek;
extern const OutputFormat kDeepseekDsml;
extern const OutputFormat kKimi;
extern const OutputFormat kMinimax;
extern const OutputFormat kGptOss;
extern const OutputFormat kGemma;
extern const OutputFormat kLlama;
extern const OutputFormat kMistral;

}  // namespace sluice::output
