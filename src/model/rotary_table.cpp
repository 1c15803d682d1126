#include "model/rotary_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice {

namespace {

double yarn_magnitude(double factor, double scale) {
    return factor > 1 ? 0.1 * scale * std::log(factor) + 1 : 1;
}

// The (fractional) pair index whose wavelength turns `beta` times over the original context.
double correction_index(const RotaryConfig& config, double beta) {
    return static_cast<double>(config.dims) *
           std::log(static_cast<double>(config.original_positions) / (2 * std::numbers::pi * beta)) /
           (2 * std::log(config.theta));
}

double scale_as_llama3(const RotaryConfig& config, double frequency) {
    const double turns = static_cast<double>(config.original_positions) * frequency / (2 * std::numbers::pi);
    if (turns > config.high_frequency_factor) return frequency;
    if (turns < config.low_frequency_factor) return frequency / config.factor;
    const double range = config.high_frequency_factor - config.low_frequency_factor;
    const double kept = range > 0 ? (turns - config.low_frequency_factor) / range : 1;
    return frequency * (kept + (1 - kept) / config.factor);
}

}  // namespace

RotaryTable make_rotary_table(const RotaryConfig& config) {
    RotaryTable table;
    const auto pairs = static_cast<size_t>(config.dims / 2);
    double low = 0, high = 0;
    if (config.yarn) {
        low = correction_index(config, config.beta_fast);
        high = correction_index(config, config.beta_slow);
        if (config.truncate) {
            low = std::floor(low);
            high = std::ceil(high);
        }
        low = std::max(low, 0.0);
        high = std::min(high, static_cast<double>(config.dims - 1));
        if (low == high) high += 0.001;
        const double all_dims = yarn_magnitude(config.factor, config.mscale_all_dim);
        table.magnitude = static_cast<float>(yarn_magnitude(config.factor, config.mscale) / all_dims);
        table.softmax_factor = static_cast<float>(all_dims * all_dims);
    }
    for (size_t i = 0; i < pairs; ++i) {
        double frequency = std::pow(config.theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.dims));
        if (config.yarn) {
            const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
            frequency *= (1 - ramp) + ramp / config.factor;
        }
        if (config.high_frequency_factor > 0) frequency = scale_as_llama3(config, frequency);
        if (i >= static_cast<size_t>((config.dims - config.still_dims) / 2)) frequency = 0;
        if (!config.divisors.empty()) frequency /= static_cast<double>(config.divisors[i]);
        table.frequencies.push_back(static_cast<float>(frequency));
    }
    return table;
}

}  // namespace sluice
