#pragma once

// Random checkpoints of real shapes.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "sluice/bytes_callback.h"
#include "sluice/error.h"

namespace sluice {

struct SynthOptions {
    std::string preset;  // one of synth_presets(), or the path of a published config.json of any family that runs
    int64_t layers = 0;  // 0: all of them
    uint64_t seed = 1;
    std::string quantize =
        "affine4";  // of the experts and the trunk: "affine4", "affine8", "bf16", "fp8" where the preset allows
    bool config_only = false;  // config.json alone: enough to inspect and to plan with
};

struct SynthPreset {
    std::string name, description;
    int64_t layers = 0;
    uint64_t bytes_per_layer = 0;
};

std::vector<SynthPreset> synth_presets();
// A random checkpoint of a real shape, for timing; routing has realistic locality. Throws Error; nothing half-written.
void synthesize(const std::filesystem::path& target, const SynthOptions& options, const BytesCallback& progress = {});

}  // namespace sluice
