#pragma once

// Products from operations' fields.

#include "backend/cuda/linear.h"

namespace sluice::cuda {

// A product with room for jobs on matrices of `weight`'s format and sizes.
Product product_of(const Device& device, const Weight& weight);
// `weight` times all rows of x.
Job job_of(const Weight& weight, const Tensor& x, const Tensor& out);
void add_job(Product& product, const Job& job);

float* floats_at(const Tensor& tensor);

}  // namespace sluice::cuda
