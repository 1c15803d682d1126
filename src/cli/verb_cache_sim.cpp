#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/input.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "sluice/cache_simulation.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::string trace;
    std::vector<double> fractions = {0.03, 0.06, 0.12, 0.25, 0.5, 0.75};
    double second = 0;
    bool json = false, quiet = false;
};

// Returns what is wrong with the text, or nothing.
std::string read_fractions(const std::string& text, std::vector<double>& fractions) {
    fractions.clear();
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        double fraction = 0;
        const std::string problem = number_flag("", fraction, "", 1e-6, 1).take(text.substr(begin, end - begin));
        if (!problem.empty()) return problem;
        fractions.push_back(fraction);
        begin = end + 1;
    }
    return {};
}

nlohmann::ordered_json rows_json(const std::vector<CacheSimulation>& rows) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const CacheSimulation& row : rows) {
        list.push_back({{"policy", row.policy},
                        {"fraction", row.fraction},
                        {"slots", row.slots},
                        {"requests", row.requests},
                        {"hits", row.hits},
                        {"hit_rate", row.hit_rate},
                        {"second_slots", row.second_slots},
                        {"second_hits", row.second_hits},
                        {"read_rate", row.read_rate}});
    }
    return list;
}

std::string rows_text(const std::vector<CacheSimulation>& rows, bool two_tiers) {
    std::vector<std::string> head = {"policy", "of all experts", "slots", "requests", "hits", "hit rate"};
    if (two_tiers) head.insert(head.end(), {"second slots", "second hits", "read"});
    Table table(head);
    for (const CacheSimulation& row : rows) {
        std::vector<std::string> cells = {row.policy,
                                          fmt::format("{:.1f} %", 100 * row.fraction),
                                          std::to_string(row.slots),
                                          std::to_string(row.requests),
                                          std::to_string(row.hits),
                                          fmt::format("{:.1f} %", 100 * row.hit_rate)};
        if (two_tiers) {
            cells.insert(cells.end(), {std::to_string(row.second_slots), std::to_string(row.second_hits),
                                       fmt::format("{:.1f} %", 100 * row.read_rate)});
        }
        table.add(cells);
    }
    return table.text();
}

}  // namespace

Command declare_cache_sim() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(argument("TRACE", flags->trace, "A routing trace, as --trace saves it", true));
    list.push_back({.names = "--fractions",
                    .help = "Cache sizes as shares of all experts, separated by commas",
                    .value = "A,B,...",
                    .take = [flags](const std::string& text) { return read_fractions(text, flags->fractions); }});
    list.push_back(number_flag("--second-tier", flags->second,
                               "Share of all experts that fit in a slower cache below each, as host memory below a "
                               "device's; 0: none",
                               0, 1));
    list.push_back(switch_flag("--json", flags->json, "One JSON object instead of the table"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] {
        const MappableFile trace(flags->trace);
        const std::vector<CacheSimulation> rows = simulate_cache(trace.path(), flags->fractions, flags->second);
        Output output;
        if (flags->json) {
            write_json(output, {{"trace", flags->trace}, {"rows", rows_json(rows)}});
        } else {
            output.write(rows_text(rows, flags->second > 0));
        }
    };
    return command;
}

}  // namespace sluice::cli
