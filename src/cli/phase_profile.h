#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sluice/engine.h"

namespace sluice::cli {

// Where the time of a prefill or of a decode went: operations of the forward pass, waiting for experts, sampling.
struct PhaseProfile {
    std::vector<OperationTime> parts;  // the longest first
    double total_s = 0;                // measured around all of it

    double unaccounted_s() const;
};

// Engine::profile() and the figures that go with it at one moment.
struct ProfileMoment {
    std::vector<OperationTime> operations;
    double stall_s = 0, sampling_s = 0;
};

PhaseProfile phase_profile(const ProfileMoment& begin, const ProfileMoment& end, double total_s);

nlohmann::ordered_json profile_json(const PhaseProfile& profile);
// A table with the share of each part; `title` heads it.
std::string profile_text(const std::string& title, const PhaseProfile& profile);

}  // namespace sluice::cli
