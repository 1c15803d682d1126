#pragma once

// Products on tensor cores, of weights in any format that has `round_weights`.

#include <span>

#include "backend/cuda/matrix.h"
#include "tensor/weight_format.h"

namespace sluice::cuda {

// How weights reach the tensor cores.
struct MatrixPath {
    bool warpgroups;  // Hopper's
    bool decoded;     // to BF16, before
    ColumnOrder order;
    bool operator==(const MatrixPath&) const = default;
};
// `jobs`: enough of them to tell how the parts of all are aligned.
MatrixPath matrix_path(const WeightFormat& format, int64_t columns, std::span<const Job> jobs);

// Of jobs that go with the launch and have no lists of rows, or a batch.
void multiply_matrices(Device& device, const WeightFormat& format, const Product& product);

// Experts: gates and ups, an activation, downs.
struct ExpertProducts {
    bool gated = true;       // else ups are what `gates` has, alone
    Product gates;           // its jobs: `count` gates, then as many ups. Their `out` is not read.
    DeviceWeight up_weight;  // of their own format, sizes like those of gates
    Product downs;           // their x is not read; the activation is theirs
    WeightFormat gate_format, up_format, down_format;
    std::span<const Job> first_samples = {}, second_samples = {};  // see matrix_path
    int32_t count = 0, most_rows = 0;                              // of a job
    const float* x = nullptr;
    int64_t x_rows = 0, all_rows = 0;  // rows of all jobs at most
};
uint64_t expert_scratch_bytes(const ExpertProducts& experts);
void multiply_experts(Device& device, const ExpertProducts& experts, std::byte* scratch);

}  // namespace sluice::cuda
