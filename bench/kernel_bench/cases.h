#pragma once

// What sluice-kernel-bench times: one operation at a time, at the shapes of a model.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

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

// What a kernel computes and must move at least, and the function that runs it `runs` times. Data sets that would stay
// in a cache take turns.
struct KernelCase {
    std::string group, name;
    double flops = 0, bytes = 0;
    std::function<void()> launch;
    double runs = 1;
};
// Times it: seconds of a run.
using AddCase = std::function<double(KernelCase)>;

// Operations that differ in their data sets alone and write to the same place, one after the other: recorded where the
// backend records steps, so that the host's part is not timed; else one a launch.
template <typename Op>
void run_in_turn(Backend& backend, const std::vector<Op>& ops, int64_t rows, KernelCase& each) {
    constexpr int64_t kMostStepRows = 64;
    if (!backend.records() || rows > kMostStepRows) {
        each.launch = [&backend, &ops, turn = size_t{0}]() mutable { backend.run(ops[turn++ % ops.size()]); };
        return;
    }
    backend.run(ops.front());  // so that nothing is loaded while operations are recorded
    backend.wait();
    backend.begin_recording();
    for (const Op& op : ops) backend.run(op);
    each.launch = [&backend, recording = backend.end_recording()] {
        if (recording != nullptr) backend.replay(*recording);
    };
    each.runs = static_cast<double>(ops.size());
}

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
