#include "server/prefill_pace.h"

#include <algorithm>

namespace sluice::server {

namespace {

// Prompts get four fifths of the time at most, and a step as long as nobody notices in any case.
constexpr double kDecodeSteps = 4;
constexpr double kUnnoticedSeconds = 0.06;
constexpr double kMostSeconds = 2;
// Fewer tokens cost nearly as much as these: their experts are read all the same.
constexpr int64_t kLeast = 16;
constexpr int64_t kFirst = 64;
constexpr double kSmoothing = 0.3;

void smooth(double& value, double seen) {
    value = value == 0 ? seen : value + kSmoothing * (seen - value);
}

}  // namespace

int64_t PrefillPace::chunk() const {
    if (tokens_per_second_ == 0) return kFirst;
    const double seconds = std::clamp(kDecodeSteps * decode_seconds_, kUnnoticedSeconds, kMostSeconds);
    return std::max(kLeast, static_cast<int64_t>(std::min(seconds * tokens_per_second_, 1e9)));
}

void PrefillPace::note_decode(double seconds) {
    smooth(decode_seconds_, seconds);
}

void PrefillPace::note_prefill(int64_t tokens, double seconds) {
    if (tokens > 0 && seconds > 0) smooth(tokens_per_second_, static_cast<double>(tokens) / seconds);
}

}  // namespace sluice::server
