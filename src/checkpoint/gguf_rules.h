#pragma once

// How a family of models is written in GGUF: part of its Architecture.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/role.h"
#include "gguf/gguf_header.h"

namespace sluice {

// The hyperparameters of a model: the keys below the name of its architecture.
class GgufHyperparameters {
  public:
    // Of a model in these parts, the first of which has the metadata. `rotary_divisors` are the values of
    // rope_freqs.weight, if it is there.
    explicit GgufHyperparameters(std::span<const GgufHeader* const> parts, std::span<const float> rotary_divisors = {});

    const GgufHeader& header() const { return *parts_.front(); }
    std::string_view architecture() const { return architecture_; }
    std::string key(std::string_view name) const;  // "qwen3moe.block_count"

    bool has(std::string_view name) const { return header().has(key(name)); }
    int64_t integer(std::string_view name) const { return header().integer(key(name)); }
    int64_t integer_or(std::string_view name, int64_t fallback) const;
    double number_or(std::string_view name, double fallback) const;
    bool boolean_or(std::string_view name, bool fallback) const;
    std::string_view text_or(std::string_view name, std::string_view fallback) const;

    // Throws kUnsupported where the key has another value, which the forward pass would have to know.
    void require_number(std::string_view name, double only) const;

    // Null for one that no part has.
    const GgufTensor* find_tensor(std::string_view name) const;

    // Of the frequencies of pairs; empty where the file has none.
    std::span<const float> rotary_divisors() const { return rotary_divisors_; }

    int64_t layers() const;  // of the model itself, without those of multi-token prediction behind them

  private:
    std::span<const GgufHeader* const> parts_;
    std::span<const float> rotary_divisors_;
    std::string_view architecture_;
};

enum class GgufShape : uint8_t {
    kMatrix,       // [rows, columns]
    kHeads,        // [heads, rows, columns]
    kVector,       // [columns]
    kConvolution,  // [channels, taps], the norms being stored as they are used
};

// The name of a role's tensor, behind "blk.3." for one of a layer.
struct GgufName {
    std::string_view name;  // without `.weight`
    Role role;
    GgufShape shape = GgufShape::kMatrix;
    bool bare = false;  // the name ends here
};

struct GgufRules {
    std::span<const std::string_view> architectures{};  // general.architecture; none: not met in GGUF
    // The fields of config.json that say the same as the hyperparameters. Throws kInvalidFile or kUnsupported.
    void (*write_config)(const GgufHyperparameters& from, nlohmann::json& config) = nullptr;
    std::span<const GgufName> names{};  // beside the common ones (gguf_names.cpp), or instead
};

}  // namespace sluice
