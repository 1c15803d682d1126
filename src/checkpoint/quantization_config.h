#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "checkpoint/json_fields.h"
#include "checkpoint/matrix_form.h"
#include "tensor/weight_format.h"

namespace sluice {

// Codes in words of 32 bits, as published.
struct IntegerWeights {
    MatrixForm form{};
    int bits = 0;
    int group_size = 0;
    std::string_view order_field = {};  // of the config, that lets columns follow their activations; empty: none does
};

// How config.json says that weights are quantized: MLX's `quantization` (or its mirror `quantization_config`) and the
// publishers' `quantization_config`. What tensors say by themselves (a factor per row, NVFP4) is not asked here.
class QuantizationConfig {
  public:
    // Throws kInvalidFile or kUnsupported, naming `label` and the field.
    static QuantizationConfig parse(std::string_view config_text, const std::string& label);

    // What is known of each module, and the format of all others.
    static QuantizationConfig of_formats(const WeightFormat& others,
                                         const std::map<std::string, WeightFormat>& modules);

    // Where nothing was said, what hf_quant_config.json of NVIDIA's ModelOpt in `folder` says, if it is there.
    void add_separate(const std::filesystem::path& folder);

    bool empty() const { return !stated_; }                   // nothing is said
    bool of_modules() const { return default_.has_value(); }  // a dict of MLX, which says all that is quantized

    // The format of a module that has `.scales`: what the dict says of this path, or its default. Names of modules may
    // differ in what wraps the text model ("model.", "language_model."). `scale_dtype` is that
    // of the scales tensor. Throws kInvalidFile when the dict says nothing or `false`.
    WeightFormat module_format(const std::string& path, DType scale_dtype) const;

    // The format that a module is stored in, by the dict alone: `module` is the end of its path. Without any
    // quantization BF16, as published models have it.
    WeightFormat expected_format(const std::string& module) const;
    // The same of a projection of routed experts.
    WeightFormat expected_expert_format(const std::string& module) const;

    // The same of a table that is read row by row; `module` is its, above its parts.
    WeightFormat expected_table_format(const std::string& module, int64_t columns) const;

    // The FP8 block. Throws kInvalidFile when there is none, naming `tensor`.
    WeightFormat fp8_format(const std::string& tensor) const;

    // MXFP4 in blocks, and the codes of AWQ, GPTQ and compressed-tensors. Throw kInvalidFile when config.json does not
    // say so, naming `tensor`.
    WeightFormat mxfp4_format(const std::string& tensor) const;
    IntegerWeights integers(const std::string& tensor) const;

  private:
    std::string label_;
    std::optional<WeightFormat> default_;
    std::unordered_map<std::string, std::optional<WeightFormat>> overrides_;  // nothing: not quantized
    bool stated_ = false;
    std::optional<WeightFormat> fp8_;  // in blocks
    std::optional<IntegerWeights> integers_;
    // What publishers' methods make of routed experts, and of other linear layers.
    std::optional<WeightFormat> experts_, linears_;

    void read_published(const JsonFields& fields);
    void read_compressed_tensors(const JsonFields& fields);
    void read_integers(const JsonFields& fields, IntegerWeights integers);
};

}  // namespace sluice
