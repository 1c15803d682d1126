#pragma once

// Checkpoints of a few kilobytes that a test may bend before it writes them.

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/dtype.h"
#include "tensor/weight_format.h"

namespace sluice::testing {

struct TinyTensor {
    DType dtype{};
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
};

struct TinyCheckpoint {
    nlohmann::json config;
    std::map<std::string, TinyTensor> tensors;
    std::map<std::string, std::string> metadata;

    // Adds a tensor of small numbers that differ from name to name.
    void add(const std::string& name, std::vector<int64_t> shape, DType dtype = DType::kBF16);
    // Replaces a float matrix (of any leading dims) by MLX's triple of the same values.
    void quantize(const std::string& module, const WeightFormat& format);
    // The values of a BF16 tensor.
    std::vector<float> values(const std::string& name) const;
    void rename_prefix(const std::string& from, const std::string& to);

    // Tensors spread over `shards` files in turn, with an index where there are several.
    void write(const std::filesystem::path& folder, size_t shards = 1) const;
};

// Publishers' layouts, BF16: two layers each.
TinyCheckpoint tiny_qwen3_moe();    // 4 experts of 64 x 32, top 2
TinyCheckpoint tiny_qwen35_moe();   // linear then full attention; fused gate_up_proj; names as the multimodal models
TinyCheckpoint tiny_deepseek_v3();  // a dense layer, then 8 experts in 4 groups

// The error that `action` throws; its message is checked to be one line with every one of `parts`.
void expect_error(ErrorCode code, const std::vector<std::string>& parts, const std::function<void()>& action);

}  // namespace sluice::testing
