#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/weight_view.h"

namespace sluice::testing {

// A weight matrix with the bytes that it views, at odd addresses, as files have them.
class StoredWeight {
  public:
    StoredWeight(const WeightFormat& format, int64_t rows, int64_t columns);

    WeightView view() const;
    std::byte* data() { return data_.data() + 1; }
    std::byte* scales() { return scales_.data() + 1; }
    std::byte* zero_points() { return zero_points_.data() + 1; }
    std::vector<float> decode() const;

  private:
    WeightFormat format_;
    int64_t rows_;
    int64_t columns_;
    std::vector<std::byte> data_;
    std::vector<std::byte> scales_;
    std::vector<std::byte> zero_points_;
};

// Gaussian values of deviation 1, the same on every machine.
std::vector<float> gaussian_values(size_t count, uint64_t seed);

// Root of the mean squared error, relative to that of the values.
double distortion(const std::vector<float>& values, const std::vector<float>& decoded);

std::vector<std::byte> from_hex(std::string_view hex);

}  // namespace sluice::testing
