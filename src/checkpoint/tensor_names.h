#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "checkpoint/architecture.h"
#include "checkpoint/expert_layout.h"

namespace sluice {

// What a tensor's name says, whoever published it.
enum class NameKind : uint8_t {
    kTrunk,        // role, part
    kExpert,       // one projection of one expert: layer, expert, projection, part
    kExpertStack,  // one projection of all experts, [experts, rows, columns]
    kGateUpStack,  // gate above up of all experts, [experts, 2 * rows, columns]
    kPackedExperts,
    kRowTable,  // a part of a table that is read row by row, or what all parts share: table_part, part
    kVision,
    kMultiToken,  // multi-token prediction; for a whole layer only its number tells
    kOther,
};

enum class TensorPart : uint8_t {
    kWeight,
    kScales,
    kZeroPoints,
    kScaleInverse,  // per block, although it multiplies, too
    kFactor,        // of the whole matrix
    kDivisor,       // the same, divided by
    kShape,
    kOrder,  // of columns by group
};
inline constexpr size_t kTensorParts = 8;

inline constexpr int kWholeTable = -1;

struct TensorName {
    NameKind kind = NameKind::kOther;
    int layer = kNoLayer;
    Role role{};
    TensorPart part{};
    int expert = 0;
    Projection projection{};
    int table_part = kWholeTable;
    size_t prefix = 0;                // length of "model.", "model.language_model." ...
    bool multi_token_marker = false;  // a tensor that only a layer of multi-token prediction has
    bool plain_bias = false;          // of a projection: it changes the arithmetic where config.json has none
};

// "model.layers.3." or "language_model.model.layers.3."; for kNoLayer the prefix alone.
std::string layer_path(std::string_view prefix, int layer);

// The module of a role within its layer ("self_attn.q_proj"), and whether its tensor carries that name without
// `.weight`.
struct ModuleName {
    std::string_view module;
    bool bare = false;
};

// The names of an architecture's tensors, both ways. Immutable.
class TensorNames {
  public:
    explicit TensorNames(const Architecture& architecture);

    TensorName parse(std::string_view name) const;
    // As the architecture's publisher calls it; empty for a role that it has not.
    ModuleName module(Role role) const;

  private:
    struct Known {
        Role role;
        TensorPart part;
    };

    bool find_known(std::string_view rest, bool in_layer, TensorName& parsed) const;
    bool parse_expert(std::string_view rest, bool stacked, TensorName& parsed) const;
    bool parse_row_table(std::string_view rest, TensorName& parsed) const;
    TensorName parse_in_layer(std::string_view rest, TensorName parsed) const;
    std::optional<TensorName> parse_below_prefix(std::string_view name) const;
    bool parse_head(std::string_view name, TensorName& parsed) const;

    const Architecture& architecture_;
    std::unordered_map<std::string, Known> of_model_, of_layer_;
};

}  // namespace sluice
