#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"

namespace sluice {

// What a tensor's name says, whoever published it.
enum class NameKind : uint8_t {
    kTrunk,        // role, part
    kExpert,       // one projection of one expert: layer, expert, projection, part
    kExpertStack,  // one projection of all experts, [experts, rows, columns]
    kGateUpStack,  // gate above up of all experts, [experts, 2 * rows, columns]
    kPackedExperts,
    kVision,
    kMultiToken,  // multi-token prediction; for a whole layer only its number tells
    kOther,
};

enum class TensorPart : uint8_t { kWeight, kScales, kBiases, kScaleInverse };

struct TensorName {
    NameKind kind = NameKind::kOther;
    int layer = kNoLayer;
    Role role{};
    TensorPart part{};
    int expert = 0;
    Projection projection{};
    size_t prefix = 0;                // length of "model.", "model.language_model." ...
    bool multi_token_marker = false;  // a tensor that only a layer of multi-token prediction has
    bool plain_bias = false;          // the `.bias` of a module: no supported architecture has any
};

TensorName parse_tensor_name(std::string_view name);

// "model.layers.3." or "language_model.model.layers.3."; for kNoLayer the prefix alone.
std::string layer_path(std::string_view prefix, int layer);

// The module of a role within its layer ("self_attn.q_proj"), as the architecture's publisher calls it, and whether its
// tensor carries that name without `.weight`.
struct ModuleName {
    std::string_view module;
    bool bare = false;
};
ModuleName module_name(Role role, Architecture architecture);

}  // namespace sluice
