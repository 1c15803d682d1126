#pragma once

// What Sluice knows of a family of models: one value in one file of architectures/, and a line of the table in
// architectures.cpp.

#include <array>
#include <span>
#include <string_view>

#include "checkpoint/gguf_rules.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"
#include "checkpoint/role.h"

namespace sluice {

// The module of a role ("self_attn.q_proj"), below the model's prefix or a layer's.
struct NameRule {
    Role role;
    std::string_view module;
    bool bare = false;  // the tensor's name ends here, without `.weight`
};

// Gate, up and down of experts that are stacked in one tensor, as MLX and the publishers of fused experts call them.
inline constexpr std::array<std::string_view, 3> kStackedProjections = {"gate_proj", "up_proj", "down_proj"};

// Where routed experts stand within a layer, and what their three projections are called where each expert has tensors
// of its own and where all are stacked.
struct ExpertNames {
    std::string_view each = "mlp.experts.";        // each.7.up_proj, or fused: each.gate_up_proj
    std::string_view stacked = "mlp.switch_mlp.";  // stacked.up_proj
    std::string_view also_stacked{};  // another name of that folder, which is read alone; empty: there is none
    std::array<std::string_view, 3> projections = kStackedProjections;  // an empty name: there is none
    std::array<std::string_view, 3> stacked_projections = kStackedProjections;
    bool alternating = false;        // of a fused gate_up_proj the rows of gate and up take turns, gate first
    bool floats_transposed = false;  // fused stacks of plain floats are stored in x out
};

enum class NormStorage : uint8_t {
    kWeight,
    kOffset,           // to 1 by the publisher, and as they are used by MLX
    kOffsetEverywhere  // to 1, by MLX too
};

struct Architecture {
    std::string_view name;
    std::span<const std::string_view> model_types;  // of config.json
    // Fills in all but model_type and the tie of the embeddings. Throws kInvalidFile or kUnsupported, naming the field.
    void (*read)(const JsonFields& fields, ModelConfig& config);
    // Beside what most architectures call alike (tensor_names.cpp), or instead: of two names the first is written.
    std::span<const NameRule> names{};
    ExpertNames experts{};
    NormStorage norms = NormStorage::kWeight;
    // The module, within a layer, of a table that is read row by row; empty: there is none.
    std::string_view row_table{};
    bool unprefixed = false;  // names begin with the module: "layers.0.", "embed."
    GgufRules gguf{};
};

std::span<const Architecture* const> architectures();

// Null for a model_type that none of them has.
const Architecture* find_architecture(std::string_view model_type);

}  // namespace sluice
