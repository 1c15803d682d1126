#pragma once

// What sluice-kernel-bench times: one operation at a time, at the shapes of a model.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "backend/backend.h"

namespace sluice::bench {

// The sizes of a model's layers. Latent attention has those of DeepSeek-V3 in any case.
struct Shapes {
    std::string_view name;
    int64_t hidden, heads, kv_heads, head_dim;
    int64_t experts, top_k, expert_inner;
    int64_t key_heads, value_heads, delta_dim;
    int64_t latent_heads = 128, kv_lora = 512, rope = 64, nope = 128, latent_value = 128;
};

// A launch: what it computes and must move at least, and the function that runs it once. Data sets that would stay in a
// cache take turns.
struct KernelCase {
    std::string group, name;
    double flops = 0, bytes = 0;
    std::function<void()> launch;
};
using AddCase = std::function<void(KernelCase)>;

// One function per file: hands cases over one by one, each freed before the next is made.
void product_cases(Backend& backend, const Shapes& shapes, const AddCase& add);
void attention_cases(Backend& backend, const Shapes& shapes, const AddCase& add);
void latent_cases(Backend& backend, const Shapes& shapes, const AddCase& add);
void selection_cases(Backend& backend, const Shapes& shapes, const AddCase& add);
void recurrent_cases(Backend& backend, const Shapes& shapes, const AddCase& add);
void drawing_cases(Backend& backend, const Shapes& shapes, const AddCase& add);

struct CaseGroup {
    std::string_view name;
    void (*make)(Backend& backend, const Shapes& shapes, const AddCase& add);
};
inline constexpr CaseGroup kCaseGroups[] = {
    {"products", product_cases},    {"attention", attention_cases}, {"latent", latent_cases},
    {"selection", selection_cases}, {"recurrent", recurrent_cases}, {"drawing", drawing_cases},
};

}  // namespace sluice::bench
