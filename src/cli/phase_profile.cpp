#include "cli/phase_profile.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/run_report.h"
#include "cli/table.h"

namespace sluice::cli {

namespace {

std::string share(double seconds, double total) {
    return fmt::format("{:.1f} %", 100 * per_second(seconds, total));
}

}  // namespace

double PhaseProfile::unaccounted_s() const {
    double rest = total_s;
    for (const OperationTime& part : parts) rest -= part.seconds;
    return rest;
}

PhaseProfile phase_profile(const ProfileMoment& begin, const ProfileMoment& end, double total_s) {
    PhaseProfile profile{.parts = end.operations, .total_s = total_s};
    std::map<std::string, OperationTime> before;
    for (const OperationTime& operation : begin.operations) before[operation.name] = operation;
    for (OperationTime& part : profile.parts) {
        part.calls -= before[part.name].calls;
        part.seconds -= before[part.name].seconds;
    }
    std::erase_if(profile.parts, [](const OperationTime& part) { return part.calls == 0; });
    profile.parts.push_back({.name = "waiting for experts", .calls = 0, .seconds = end.stall_s - begin.stall_s});
    profile.parts.push_back({.name = "sampling", .calls = 0, .seconds = end.sampling_s - begin.sampling_s});
    std::ranges::sort(profile.parts, std::ranges::greater(), &OperationTime::seconds);
    return profile;
}

nlohmann::ordered_json profile_json(const PhaseProfile& profile) {
    nlohmann::ordered_json document = {{"total_s", profile.total_s},
                                       {"unaccounted_s", profile.unaccounted_s()},
                                       {"parts", nlohmann::ordered_json::array()}};
    for (const OperationTime& part : profile.parts) {
        document["parts"].push_back({{"name", part.name}, {"calls", part.calls}, {"seconds", part.seconds}});
    }
    return document;
}

std::string profile_text(const std::string& title, const PhaseProfile& profile) {
    Table table({title, "calls", "ms", "share"});
    for (const OperationTime& part : profile.parts) {
        table.add({part.name, part.calls > 0 ? std::to_string(part.calls) : "",
                   fmt::format("{:.2f}", 1e3 * part.seconds), share(part.seconds, profile.total_s)});
    }
    table.add({"between them", "", fmt::format("{:.2f}", 1e3 * profile.unaccounted_s()),
               share(profile.unaccounted_s(), profile.total_s)});
    table.add({"total", "", fmt::format("{:.2f}", 1e3 * profile.total_s), "100.0 %"});
    return table.text();
}

}  // namespace sluice::cli
