#include <algorithm>

#include "checkpoint/architecture.h"

// Every architecture: the constant NAME_architecture of architectures/NAME.cpp.
#define SLUICE_ARCHITECTURES(X) \
    X(deepseek_v3)              \
    X(deepseek_v32)             \
    X(deepseek_v4)              \
    X(gemma4)                   \
    X(glm4_moe)                 \
    X(glm5_next)                \
    X(glm_moe_dsa)              \
    X(gpt_oss)                  \
    X(kimi_linear)              \
    X(llama4)                   \
    X(mimo_v2_flash)            \
    X(minimax_m2)               \
    X(mixtral)                  \
    X(nemotron_h)               \
    X(olmoe)                    \
    X(qwen3_5_moe)              \
    X(qwen3_moe)                \
    X(qwen3_next)               \
    X(qwen3_vl_moe)             \
    X(qwen4_exp)                \
    X(step3p7)

namespace sluice {

#define SLUICE_DECLARE(name) extern const Architecture name##_architecture;
SLUICE_ARCHITECTURES(SLUICE_DECLARE)
#undef SLUICE_DECLARE

namespace {

#define SLUICE_ADDRESS(name) &name##_architecture,
constexpr const Architecture* kArchitectures[] = {SLUICE_ARCHITECTURES(SLUICE_ADDRESS)};
#undef SLUICE_ADDRESS

}  // namespace

std::span<const Architecture* const> architectures() {
    return kArchitectures;
}

const Architecture* find_architecture(std::string_view model_type) {
    for (const Architecture* architecture : kArchitectures) {
        if (std::ranges::find(architecture->model_types, model_type) != architecture->model_types.end()) {
            return architecture;
        }
    }
    return nullptr;
}

}  // namespace sluice
