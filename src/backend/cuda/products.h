#pragma once

// Products from operations' fields.

#include <span>

#include "backend/cuda/linear.h"

namespace sluice::cuda {

// A product with room for jobs on matrices of `weight`'s format and sizes.
Product product_of(const Device& device, const Weight& weight);
// `weight` times all rows of x.
Job job_of(const Weight& weight, const Tensor& x, const Tensor& out);
void add_job(Product& product, const Job& job);
RecordPlaces places_of(const ExpertRecords& records);
// Whether a batch of so many rows meets weights of this format on tensor cores.
bool on_tensor_cores(const Device& device, const WeightFormat& format, int64_t batch_rows);
// Batches of more rows meet weights on tensor cores, rounded. A step's do not, so that company changes no bit.
constexpr int64_t kMostStepRows = 64;
void run(Device& device, const WeightFormat& format, const Product& product, bool tensor_cores);

float* floats_at(const Tensor& tensor);

// Products of the same few rows, up to kMostTogether of them, in one launch.
constexpr size_t kMostTogether = Product::kMostJobs;
bool go_together(const Linear& a, const Linear& b);
void compute_together(Device& device, std::span<const Linear* const> ops);
// The sum of experts, and what is added to it.
void compute_together(Device& device, const CombineExperts& op, const AddGated& added);

}  // namespace sluice::cuda
