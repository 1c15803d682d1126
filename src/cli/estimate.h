#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sluice/disk_measurement.h"
#include "sluice/engine.h"
#include "sluice/model_report.h"

namespace sluice::cli {

// What the machine reaches, as measured.
struct MachineSpeed {
    double memory_bytes_per_s = 0;
    double disk_bytes_per_s = 0;
    double layer_s = 0;  // that a layer of a token takes beside
};
// Of a card: from one kernel to the next, whatever they move.
inline constexpr double kLayerSecondsOnCard = 40e-6;

// The share of expert requests that a cache of `cached_fraction` of all experts answers, interpolated from published
// measurements of models with about as many experts per layer. An estimate: text and model decide.
double expected_hit_rate(int64_t experts, double cached_fraction);

// The fastest measured row, of direct or of cached reads; 0 where none ran.
double best_disk_speed(const std::vector<DiskMeasurement>& rows, bool direct_io);
// Of one read when the drive is measured for a model: an expert's, in whole pages; or less, which brings any drive to
// its speed, where so large a one would want a large file to be drawn from.
uint64_t measured_read_bytes(uint64_t bytes_per_expert);

// Seconds that one token takes at least: what must pass through memory, and what must come from the drive. They
// overlap.
struct TokenBound {
    double memory_s = 0, disk_s = 0, layers_s = 0;
    double tokens_per_s() const;
};
TokenBound decode_bound(const ModelReport& model, const MachineSpeed& speed, double miss_bytes_per_token,
                        double context_tokens);

struct PlanEstimate {
    double cached_fraction = 0;  // of all experts, on a card or in memory
    double hit_rate = 0;         // of both
    double card_rate = 0;        // of those on a card, where others stand in memory below
    double decode_tokens_per_s = 0;
};
PlanEstimate estimate_plan(const ModelReport& model, const MachineSpeed& speed, const MemoryOutlook& memory);

}  // namespace sluice::cli
