#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "sluice/storage_tools.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::string trace;
    std::vector<double> fractions = {0.03, 0.06, 0.12, 0.25, 0.5, 0.75};
    bool json = false, quiet = false;
};

nlohmann::ordered_json rows_json(const std::vector<CacheSimulation>& rows) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const CacheSimulation& row : rows) {
        list.push_back({{"policy", row.policy},
                        {"fraction", row.fraction},
                        {"slots", row.slots},
                        {"requests", row.requests},
                        {"hits", row.hits},
                        {"hit_rate", row.hit_rate}});
    }
    return list;
}

std::string rows_text(const std::vector<CacheSimulation>& rows) {
    Table table({"policy", "of all experts", "slots", "requests", "hits", "hit rate"});
    for (const CacheSimulation& row : rows) {
        table.add({row.policy, fmt::format("{:.1f} %", 100 * row.fraction), std::to_string(row.slots),
                   std::to_string(row.requests), std::to_string(row.hits),
                   fmt::format("{:.1f} %", 100 * row.hit_rate)});
    }
    return table.text();
}

}  // namespace

RunVerb declare_cache_sim(CLI::App& app) {
    auto flags = std::make_shared<Flags>();
    app.add_option("TRACE", flags->trace, "A routing trace, as --trace saves it")->required()->type_name("");
    app.add_option("--fractions", flags->fractions, "Cache sizes as shares of all experts, separated by commas")
        ->delimiter(',')
        ->take_all()
        ->allow_extra_args(false)
        ->check(CLI::Range(1e-6, 1.0))
        ->type_name("A,B,...");
    app.add_flag("--json", flags->json, "One JSON object instead of the table");
    add_log_flags(app, flags->quiet);
    return [flags] {
        const std::vector<CacheSimulation> rows = simulate_cache(flags->trace, flags->fractions);
        Output output;
        if (flags->json) {
            write_json(output, {{"trace", flags->trace}, {"rows", rows_json(rows)}});
        } else {
            output.write(rows_text(rows));
        }
    };
}

}  // namespace sluice::cli
