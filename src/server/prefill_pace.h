#pragma once

#include <cstdint>

namespace sluice::server {

// How much of a prompt goes into a step beside sequences that decode: what takes as long as they may be kept waiting.
// One thread.
class PrefillPace {
  public:
    // Tokens for the next step.
    int64_t chunk() const;
    // A step without prompts took so long.
    void note_decode(double seconds);
    // A step evaluated so many tokens of prompts.
    void note_prefill(int64_t tokens, double seconds);

  private:
    double decode_seconds_ = 0;     // of a step, smoothed; 0: not known
    double tokens_per_second_ = 0;  // of prompts, smoothed; 0: not known
};

}  // namespace sluice::server
