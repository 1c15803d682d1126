#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/size.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "hub/local_models.h"
#include "sluice/engine.h"
#include "sluice/model_report.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::vector<std::filesystem::path> folders;
    bool json = false;
};

struct Row {
    hub::LocalModel model = {};
    ModelReport report = {};
    MemoryOutlook outlook = {};
    bool runs = false;
    std::string why = {};  // it does not run, or what that takes
};

std::string verdict(const Row& row) {
    if (!row.outlook.runs) {
        return fmt::format("needs {} of memory; {} are free", format_size(row.outlook.least_bytes),
                           format_size(row.outlook.ram_bytes));
    }
    return row.outlook.cache_bytes >= row.report.expert_bytes ? "all in memory" : "experts from the drive";
}

// What is wrong with a model is what there is to say of it.
Row row_of(hub::LocalModel model) {
    Row row{.model = std::move(model)};
    try {
        if (!find_lone_config(row.model.path).empty()) {
            row.report = inspect_config(find_lone_config(row.model.path));
            row.why = "its weights are not there";
            return row;
        }
        row.report = inspect(row.model.path);
        row.outlook = Engine::foresee_memory(row.model.path, {});
        row.runs = row.outlook.runs;
        row.why = verdict(row);
    } catch (const Error& error) {
        row.why = with_flags(error.what());
    }
    return row;
}

nlohmann::ordered_json json_of(const Row& row) {
    nlohmann::ordered_json entry;
    entry["name"] = row.model.name;
    entry["path"] = row.model.path.string();
    entry["runs"] = row.runs;
    entry["why"] = row.why;
    entry["architecture"] = row.report.architecture;
    entry["quantization"] = row.report.expert_quantization;
    entry["bytes"] = row.report.file_bytes;
    entry["least_ram_bytes"] = row.outlook.least_bytes;
    return entry;
}

void list_models(const Flags& flags) {
    std::vector<hub::LocalModel> models = hub::list_models(flags.folders);
    models.insert(models.begin(), {"(bundled)", model_folder({})});
    nlohmann::ordered_json document = nlohmann::ordered_json::array();
    Table table({"model", "architecture", "experts", "size", "runs"});
    std::string reasons;
    for (hub::LocalModel& model : models) {
        if (interrupted()) return;
        const Row row = row_of(std::move(model));
        document.push_back(json_of(row));
        table.add({row.model.name, row.report.architecture, row.report.expert_quantization,
                   row.report.file_bytes > 0 ? format_size(row.report.file_bytes) : "", row.runs ? "yes" : "no"});
        reasons += fmt::format("{}: {}\n", row.model.name, row.why);
    }
    Output output;
    if (flags.json) {
        write_json(output, document);
    } else {
        output.write(table.text() + "\n" + reasons);
    }
}

}  // namespace

Command declare_list() {
    auto flags = std::make_shared<Flags>();
    Command command;
    command.flags.push_back(model_dir_flag(flags->folders));
    command.flags.push_back(switch_flag("--json", flags->json, "A JSON list, with each model's path"));
    command.run = [flags] { list_models(*flags); };
    return command;
}

}  // namespace sluice::cli
