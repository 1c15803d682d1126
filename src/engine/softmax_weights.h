#pragma once

#include <span>
#include <vector>

namespace sluice {

// exp((logit - largest) / temperature) of every logit, not normalized, with sums of runs so that drawing need not look
// at each. The relative error is that of rounding the exponent to float, and 1e-6. One thread.
class SoftmaxWeights {
  public:
    void compute(std::span<const float> logits, float largest, float temperature);

    double total() const { return total_; }
    float operator[](size_t i) const { return weights_[i]; }
    // The index at which the running sum first exceeds `target`; the last one of any weight if none does.
    size_t find(double target) const;

  private:
    std::vector<float> weights_;
    std::vector<double> run_sums_;
    double total_ = 0;
};

float largest_of(std::span<const float> values);
bool all_finite(std::span<const float> values);

}  // namespace sluice
