#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/published.h"
#include "checkpoint/quantization_config.h"
#include "checkpoint/tensor_names.h"

namespace sluice {

// The tensors that make up one module, as indices into the table; kNoTensor where there is none.
inline constexpr int64_t kNoTensor = -1;
struct ModuleTensors {
    std::array<int64_t, kTensorParts> parts;  // by TensorPart
    ModuleTensors() { parts.fill(kNoTensor); }
    int64_t operator[](TensorPart part) const { return parts[static_cast<size_t>(part)]; }
};

bool is_plain_float(DType dtype);  // F32, F16, BF16

// Turns tensors into weight sources, checked against the sizes that config.json asks for. Remembers which it used.
class WeightResolver {
  public:
    WeightResolver(const Published& table, const QuantizationConfig& quantization);

    // A matrix [product of leading, columns] stored as [leading..., columns]; `name` is that of its weight tensor.
    // Throws kNotFound, kInvalidFile or kUnsupported, naming file and tensor.
    WeightSource matrix(const std::string& name, const ModuleTensors& tensors, const std::vector<int64_t>& leading,
                        int64_t columns);
    // A plain float tensor whose shape is one of `shapes`, as one row; `name` is the tensor's.
    // Whole numbers in I64 or I32.
    WeightSource numbers(const std::string& name, const ModuleTensors& tensors, const std::vector<int64_t>& leading,
                         int64_t columns);
    WeightSource vector(const std::string& name, const ModuleTensors& tensors,
                        const std::vector<std::vector<int64_t>>& shapes);

    const Published& table() const { return table_; }
    const SafetensorsEntry& entry(int64_t tensor) const { return table_.tensors[static_cast<size_t>(tensor)].entry; }
    ByteRange use(int64_t tensor);
    bool used(size_t tensor) const { return used_[tensor]; }

  private:
    WeightSource affine_or_micro(const std::string& name, const ModuleTensors& tensors,
                                 const std::vector<int64_t>& leading, int64_t columns);
    // As published: U8 [leading..., groups, 16], and a scale for each group.
    WeightSource mxfp4_blocks(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns);
    // Of compressed-tensors, AWQ and GPTQ: I32 words of codes, scales and perhaps zero points of groups.
    WeightSource integers(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns);
    void require_groups_in_order(const IntegerWeights& codes, const ModuleTensors& tensors, int64_t columns);
    // Of compressed-tensors and ModelOpt: U8 [rows, columns / 2], E4M3 scales, a factor of the whole.
    // DeepSeek-V4's, which is MXFP4 but for its element type.
    WeightSource fp4(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns);
    WeightSource nvfp4(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns);
    // Of a container that says the codec.
    WeightSource blocks(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns);
    void require_factors(int64_t scales, const std::vector<int64_t>& leading) const;
    WeightSource fp8(const ModuleTensors& tensors, const std::vector<int64_t>& leading, int64_t columns);
    // Of FP8 with a scale for each row, or for all; nothing where the scales' shape says neither.
    std::optional<WeightFormat> fp8_of_rows(int64_t scales, const std::vector<int64_t>& leading, int64_t columns) const;
    void require_stored(const std::string& name, int64_t tensor) const;
    void require_groups(int64_t weight, const WeightFormat& format, int64_t columns) const;
    WeightSource make_source(const ModuleTensors& tensors, const WeightFormat& format,
                             const std::vector<int64_t>& leading, int64_t columns, int64_t scales);
    void require_shape(int64_t tensor, std::vector<int64_t> leading, int64_t columns, const std::string& why) const;
    [[noreturn]] void refuse_dtype(int64_t tensor, const std::string& supported) const;

    const Published& table_;
    const QuantizationConfig& quantization_;
    std::string config_;  // what says the sizes, for messages
    std::vector<bool> used_;
};

}  // namespace sluice
