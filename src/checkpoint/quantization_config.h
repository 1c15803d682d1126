#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tensor/weight_format.h"

namespace sluice {

// How config.json says that weights are quantized: MLX's `quantization` (or its mirror `quantization_config`) and the
// publishers' FP8 `quantization_config`.
class QuantizationConfig {
  public:
    // Throws kInvalidFile or kUnsupported, naming `label` and the field.
    static QuantizationConfig parse(std::string_view config_text, const std::string& label);

    // What is known of each module, and the format of all others.
    static QuantizationConfig of_formats(const WeightFormat& others,
                                         const std::map<std::string, WeightFormat>& modules);

    bool empty() const { return !default_ && !fp8_ && !experts_ && overrides_.empty(); }  // nothing is said

    // The format of a module that has `.scales`: what the dict says of this path, or its default. Names of modules may
    // differ in what wraps the text model ("model.", "language_model."). `scale_dtype` is that
    // of the scales tensor. Throws kInvalidFile when the dict says nothing or `false`.
    WeightFormat module_format(const std::string& path, DType scale_dtype) const;

    // The format that a module is stored in, by the dict alone: `module` is the end of its path. Without any
    // quantization BF16, as published models have it.
    WeightFormat expected_format(const std::string& module) const;
    // The same of a projection of routed experts.
    WeightFormat expected_expert_format(const std::string& module) const;

    // The FP8 block. Throws kInvalidFile when there is none, naming `tensor`.
    WeightFormat fp8_format(const std::string& tensor) const;

    // Those of experts in blocks of MXFP4, and in compressed-tensors' codes without zero points. Throw kInvalidFile
    // when config.json does not say so, naming `tensor`.
    WeightFormat mxfp4_format(const std::string& tensor) const;
    WeightFormat symmetric_format(const std::string& tensor) const;

  private:
    std::string label_;
    std::optional<WeightFormat> default_;
    std::unordered_map<std::string, std::optional<WeightFormat>> overrides_;  // nothing: not quantized
    std::optional<WeightFormat> fp8_;
    std::optional<WeightFormat> experts_;  // of routed experts alone: MXFP4 in blocks, compressed-tensors' integers
};

// Throws kUnsupported where hf_quant_config.json of NVIDIA's ModelOpt, beside a config.json that says nothing of it,
// quantizes the weights.
void refuse_separate_quantization(const std::filesystem::path& folder, const QuantizationConfig& config);

}  // namespace sluice
