#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/architecture.h"
#include "checkpoint/gguf_rules.h"
#include "checkpoint/tensor_names.h"

namespace sluice {

// What the name of a tensor in GGUF says, and what the publisher of the safetensors calls the same.
struct GgufTensorName {
    std::string name;  // "model.layers.3.self_attn.q_proj.weight"; as in the file where nobody knows it
    int layer = kNoLayer;
    std::optional<GgufShape> shape = {};  // nothing: as the file says
    bool factor = false;                  // of the whole matrix that is called so, but for `.scales`
};

// Immutable.
class GgufNames {
  public:
    explicit GgufNames(const Architecture& architecture) : architecture_(architecture), names_(architecture) {}

    GgufTensorName translate(std::string_view name) const;
    // The name that translates so, of what every layer has; as it is where none does.
    std::string spelled(std::string_view name) const;
    // "model.layers.3.self_attn.q_proj.weight"
    std::string of_role(int layer, Role role) const;

  private:
    bool translate_expert(std::string_view rest, GgufTensorName& found) const;
    bool translate_role(std::string_view rest, GgufTensorName& found) const;

    const Architecture& architecture_;
    TensorNames names_;
};

}  // namespace sluice
