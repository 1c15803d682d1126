#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/size.h"
#include "cli/byte_progress.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "sluice/disk_measurement.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::string path;
    uint64_t read_bytes = uint64_t{2} << 20;
    double seconds = 1;
    bool json = false, quiet = false;
};

std::string rows_text(const std::vector<DiskMeasurement>& rows) {
    Table table({"reader", "direct", "depth", "read size", "GB/s", "p50 us", "p99 us", ""});
    for (const DiskMeasurement& row : rows) {
        std::vector<std::string> cells = {row.reader, row.direct_io ? "yes" : "no", std::to_string(row.depth),
                                          format_size(row.read_bytes)};
        if (row.refused.empty()) {
            cells.push_back(fmt::format("{:.2f}", row.bytes_per_second / 1e9));
            cells.push_back(fmt::format("{:.0f}", row.latency_p50_us));
            cells.push_back(fmt::format("{:.0f}", row.latency_p99_us));
        } else {
            cells.insert(cells.end(), {"-", "-", "-", row.refused});
        }
        table.add(std::move(cells));
    }
    return table.text();
}

nlohmann::ordered_json rows_json(const std::vector<DiskMeasurement>& rows) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const DiskMeasurement& row : rows) {
        nlohmann::ordered_json entry = {{"reader", row.reader},
                                        {"direct_io", row.direct_io},
                                        {"depth", row.depth},
                                        {"read_bytes", row.read_bytes},
                                        {"bytes_per_s", row.bytes_per_second},
                                        {"latency_p50_us", row.latency_p50_us},
                                        {"latency_p99_us", row.latency_p99_us}};
        if (!row.refused.empty()) entry["refused"] = row.refused;
        list.push_back(std::move(entry));
    }
    return list;
}

void measure(const Flags& flags) {
    const std::vector<DiskMeasurement> rows = with_byte_progress("reading", flags.quiet, [&](const auto& progress) {
        return measure_disk(flags.path, flags.read_bytes, flags.seconds, progress);
    });
    Output output;
    if (flags.json) return write_json(output, {{"path", flags.path}, {"rows", rows_json(rows)}});
    output.write(rows_text(rows));
    const auto fastest = std::max_element(
        rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.bytes_per_second < b.bytes_per_second; });
    if (!flags.quiet && fastest != rows.end() && fastest->bytes_per_second > 0) {
        tell("fastest: {} {} direct I/O at depth {}, {:.2f} GB/s\n", fastest->reader,
             fastest->direct_io ? "with" : "without", fastest->depth, fastest->bytes_per_second / 1e9);
    }
}

}  // namespace

Command declare_bench_disk() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(argument("PATH", flags->path,
                            "A checkpoint directory, a file, or any folder (a file is made there and removed)", true));
    list.push_back(size_flag("--read-size", flags->read_bytes, "Bytes of one read; default: 2M, about one expert"));
    list.push_back(number_flag("--seconds", flags->seconds, "Per row of the table; default: 1", 0.01, 600));
    list.push_back(switch_flag("--json", flags->json, "One JSON object instead of the table"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] { measure(*flags); };
    return command;
}

}  // namespace sluice::cli
