#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/machine_speed.h"
#include "base/memory.h"
#include "base/size.h"
#include "cli/estimate.h"
#include "cli/host_plan.h"
#include "cli/interrupt.h"
#include "cli/machine.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/disk_measurement.h"
#include "sluice/engine.h"
#include "sluice/model_report.h"

namespace sluice::cli {

namespace {

constexpr double kDiskSecondsPerRow = 0.1;
constexpr double kSlowDriveBytesPerSecond = 3e8;

struct Flags {
    ModelChoice model;
    EngineOptions engine;
    std::vector<MachineRates> hosts;
    bool json = false, quiet = false;
};

// The options that a plan depends on.
bool is_planned(std::string_view option) {
    constexpr std::string_view kPlanned[] = {"ram_bytes", "vram_bytes", "context",   "chunk",
                                             "threads",   "exact",      "kv_format", "device"};
    return std::find(std::begin(kPlanned), std::end(kPlanned), option) != std::end(kPlanned);
}

// Everything the answer is made of.
struct Plan {
    std::filesystem::path folder;
    ModelReport model;
    DriveFacts drive;
    MachineSpeed speed;
    bool direct_io = false;
    std::string drive_unmeasured;  // why the drive's speed is not known
    bool weights_missing = false;  // planned from config.json alone
    std::optional<Card> card;      // none: the model lies in the processor's memory
    uint64_t available = 0;        // there
    MemoryOutlook memory;
    PlanEstimate estimate;
    std::vector<HostShare> hosts;
};

// A plan is of use without the drive's speed, where nothing can be read or written.
void measure_drive(Plan& plan) {
    const uint64_t read_bytes = measured_read_bytes(plan.model.bytes_per_expert);
    std::vector<DiskMeasurement> rows;
    try {
        rows = measure_disk(plan.folder, read_bytes, kDiskSecondsPerRow,
                            [](uint64_t, uint64_t) { return !interrupted(); });
    } catch (const Error& error) {
        if (error.code() == ErrorCode::kCancelled) throw;
        plan.drive_unmeasured = error.what();
        return;
    }
    // Past the page cache is what a model larger than memory meets; cached reads would measure memory.
    plan.speed.disk_bytes_per_s = best_disk_speed(rows, true);
    plan.direct_io = plan.speed.disk_bytes_per_s > 0;
    if (!plan.direct_io) plan.speed.disk_bytes_per_s = best_disk_speed(rows, false);
}

Plan make_plan(const Flags& flags) {
    Plan plan;
    plan.folder = model_folder(flags.model);
    plan.card = card_of(flags.engine.device);
    plan.available = plan.card ? plan.card->free_bytes : available_memory_bytes();
    const std::filesystem::path config = find_lone_config(plan.folder);
    plan.weights_missing = !config.empty();
    if (plan.weights_missing) {
        plan.model = inspect_config(config);
        plan.folder = std::filesystem::absolute(config).parent_path();
    }
    plan.memory = Engine::foresee_memory(plan.weights_missing ? config : plan.folder, flags.engine);
    if (!plan.weights_missing) plan.model = inspect(plan.folder);
    plan.drive = drive_facts(plan.folder);
    if (plan.card) {
        plan.speed = {.memory_bytes_per_s = plan.card->memory_bytes_per_s, .layer_s = kLayerSecondsOnCard};
    } else {
        ThreadPool pool(0);
        plan.speed.memory_bytes_per_s = measure_memory_bandwidth(pool);
    }
    measure_drive(plan);
    plan.estimate = estimate_plan(plan.model, plan.speed, plan.memory);
    if (!flags.hosts.empty()) {
        const ModelReport& model = plan.model;
        plan.hosts = plan_hosts(flags.hosts, plan.memory.least_bytes,
                                {.layers = model.moe_layers,
                                 .experts = model.experts,
                                 .experts_per_token = model.experts_per_token,
                                 .columns = model.hidden_size,
                                 .bytes = model.expert_bytes});
    }
    return plan;
}

// The flag of the memory that the model lies in.
const char* memory_flag(const Plan& plan) {
    return plan.card ? "--vram" : "--ram";
}
// With whole megabytes, as it takes them.
std::string memory_flag(const Plan& plan, uint64_t bytes) {
    return fmt::format("{} {}M", memory_flag(plan), round_up(bytes, 1 << 20) >> 20);
}

// Of all weights.
uint64_t weight_bytes(const ModelReport& model) {
    return model.trunk_bytes + model.expert_bytes + model.row_table_bytes;
}

std::vector<std::string> advice(const Plan& plan) {
    std::vector<std::string> lines;
    const PlanEstimate& estimate = plan.estimate;
    const MemoryOutlook& memory = plan.memory;
    const uint64_t kv = static_cast<uint64_t>(memory.context) * plan.model.kv_bytes_per_token;
    if (!memory.runs) {
        lines.push_back(fmt::format("give {} or more{}", memory_flag(plan, memory.least_bytes),
                                    plan.available < memory.least_bytes
                                        ? fmt::format("; only {} are free now", format_size(plan.available))
                                        : std::string()));
    }
    if (memory.ram_bytes > plan.available) {
        lines.push_back(
            plan.card ? fmt::format("only {} are free now: something else is on the card", format_size(plan.available))
                      : fmt::format("only {} are free now: a --ram above that ends in swapping",
                                    format_size(plan.available)));
    } else if (memory.runs && estimate.cached_fraction < 1 && plan.available > memory.ram_bytes * 5 / 4) {
        lines.push_back(fmt::format("{} are free: a larger {} keeps more experts; {} would hold them all",
                                    format_size(plan.available), memory_flag(plan), format_size(memory.full_bytes)));
    }
    if (memory.runs && kv > memory.ram_bytes / 4) {
        lines.push_back(
            fmt::format("the KV cache of {} tokens takes {}; a smaller --context leaves more to the experts",
                        memory.context, format_size(kv)));
    }
    if (plan.weights_missing && weight_bytes(plan.model) > plan.drive.free_bytes)
        lines.emplace_back("the weights do not fit on this drive: free some of it, or take another");
    if (estimate.cached_fraction < 1 && plan.model.layout != "packed") {
        const bool wide = plan.model.expert_quantization == "BF16" || plan.model.expert_quantization == "F16" ||
                          plan.model.expert_quantization == "F32";
        lines.emplace_back(wide ? "`sluice pack --quantize affine4` makes experts about four times smaller, so that "
                                  "more fit and less is read"
                                : "`sluice pack` lays each expert out as one aligned read");
    }
    // Virtual drives often claim to turn, so the measurement has the last word.
    const bool slow = plan.drive_unmeasured.empty() && plan.speed.disk_bytes_per_s < kSlowDriveBytesPerSecond;
    if (slow && plan.drive.rotational == true) {
        lines.emplace_back("the drive turns; a solid-state drive is many times faster");
    }
    if (!plan.direct_io && plan.drive_unmeasured.empty())
        lines.emplace_back("direct I/O does not work on this drive, so the drive's speed is a guess from cached reads");
    if (lines.empty()) lines.emplace_back("nothing");
    return lines;
}

nlohmann::ordered_json plan_json(const Plan& plan) {
    const PlanEstimate& estimate = plan.estimate;
    return {{"model", plan.folder.string()},
            {"architecture", plan.model.architecture},
            {"runs", plan.memory.runs},
            {"ram_bytes", plan.memory.ram_bytes},
            {"available_bytes", plan.available},
            {"card", plan.card ? nlohmann::ordered_json(plan.card->name) : nlohmann::ordered_json()},
            {"context", plan.memory.context},
            {"memory_floor_bytes", plan.memory.least_bytes},
            {"memory_full_bytes", plan.memory.full_bytes},
            {"cache_bytes", plan.memory.cache_bytes},
            {"host_cache_bytes", plan.memory.host_bytes},
            {"cached_fraction", estimate.cached_fraction},
            {"expected_card_rate", estimate.card_rate},
            {"expected_hit_rate", estimate.hit_rate},
            {"expected_decode_tokens_per_s", estimate.decode_tokens_per_s},
            {"memory_bandwidth_bytes_per_s", plan.speed.memory_bytes_per_s},
            {"disk_bandwidth_bytes_per_s", plan.speed.disk_bytes_per_s},
            {"direct_io", plan.direct_io},
            {"weights_missing", plan.weights_missing},
            {"trunk_bytes", plan.model.trunk_bytes},
            {"expert_bytes", plan.model.expert_bytes},
            {"row_table_bytes", plan.model.row_table_bytes},
            {"estimate", true},
            {"hosts", hosts_json(plan.hosts, plan.model.expert_bytes)},
            {"advice", advice(plan)}};
}

std::string plan_text(const Plan& plan) {
    const PlanEstimate& estimate = plan.estimate;
    const MemoryOutlook& memory = plan.memory;
    std::string text;
    const auto line = [&](const char* label, const std::string& value) {
        text += fmt::format("{:<16}{}\n", label, value);
    };
    line("model", fmt::format("{} ({}, experts {})", plan.folder.string(), plan.model.architecture,
                              plan.model.expert_quantization));
    if (plan.weights_missing) {
        line("download", fmt::format("about {}, by config.json alone; {} are free on this drive",
                                     format_size(weight_bytes(plan.model)), format_size(plan.drive.free_bytes)));
    }
    line("memory", fmt::format("{} allowed, {} free now{}", format_size(memory.ram_bytes), format_size(plan.available),
                               plan.card ? " on " + plan.card->name : std::string()));
    const uint64_t per_token = plan.model.kv_bytes_per_token;
    line("context", fmt::format("{} tokens take {}: {} each in bf16, and {} of recurrent state", memory.context,
                                format_size(static_cast<uint64_t>(memory.context) * per_token +
                                            plan.model.state_bytes_per_sequence),
                                format_size(per_token), format_size(plan.model.state_bytes_per_sequence)));
    const char* const about = plan.weights_missing ? "about " : "";
    line("needs", fmt::format("{}{} at least; {}{} holds every expert", about, memory_flag(plan, memory.least_bytes),
                              about, memory_flag(plan, memory.full_bytes)));
    line("drive", plan.drive_unmeasured.empty()
                      ? fmt::format("{:.2f} GB/s in reads of {}{}", plan.speed.disk_bytes_per_s / 1e9,
                                    format_size(plan.model.bytes_per_expert), plan.direct_io ? ", direct" : ", cached")
                      : fmt::format("not measured: {}", plan.drive_unmeasured));
    line("bandwidth", fmt::format("{:.1f} GB/s of {}", plan.speed.memory_bytes_per_s / 1e9,
                                  plan.card ? "the card's memory, as its clock promises" : "memory"));
    if (memory.runs) {
        const std::string cache = memory.host_bytes > 0
                                      ? fmt::format("{} on the card and {} in memory", format_size(memory.cache_bytes),
                                                    format_size(memory.host_bytes))
                                      : format_size(memory.cache_bytes);
        line("cache", fmt::format("{}, {:.0f} % of all experts", cache, 100 * estimate.cached_fraction));
        if (memory.host_bytes > 0) {
            line("tiers", fmt::format("about {:.0f} % on the card, {:.0f} % copied from memory, {:.0f} % read",
                                      100 * estimate.card_rate, 100 * (estimate.hit_rate - estimate.card_rate),
                                      100 * (1 - estimate.hit_rate)));
        }
        line("hit rate", fmt::format("about {:.0f} % (an estimate, from published measurements of similar models)",
                                     100 * estimate.hit_rate));
        const bool reads = estimate.cached_fraction < 1;
        line("speed", reads && !plan.drive_unmeasured.empty()
                          ? "unknown, since the drive's is"
                          : fmt::format("about {:.1f} tok/s (an estimate)", estimate.decode_tokens_per_s));
    } else {
        line("runs", "no: the memory allowed is below what it needs");
    }
    text += hosts_text(plan.hosts, plan.model.expert_bytes);
    for (const std::string& advised : advice(plan)) line("to change", advised);
    return text;
}

}  // namespace

Command declare_plan() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model);
    flags->engine.prefix_memory_bytes = 0;
    for (const Option<EngineOptions>& option : kEngineOptions) {
        if (is_planned(option.name)) list.push_back(option_flag(option, flags->engine));
    }
    list.push_back(hosts_flag(flags->hosts));
    list.push_back(switch_flag("--json", flags->json, "One JSON object instead of the lines"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] {
        const Plan plan = make_plan(*flags);
        Output output;
        if (flags->json) {
            write_json(output, plan_json(plan));
        } else {
            output.write(plan_text(plan));
        }
    };
    return command;
}

}  // namespace sluice::cli
