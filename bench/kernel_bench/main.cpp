// sluice-kernel-bench: every kernel at the shapes of a model, against what the device reaches at most in the same run.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <fstream>

#include "backend/cuda_backend.h"
#include "base/error.h"
#include "bench/kernel_bench/cases.h"
#include "bench/kernel_bench/report.h"

namespace sluice::bench {

namespace {

constexpr Shapes kShapes[] = {
    {.name = "qwen3.6-35b-a3b",
     .hidden = 2048,
     .heads = 16,
     .kv_heads = 2,
     .head_dim = 256,
     .experts = 256,
     .top_k = 8,
     .expert_inner = 512,
     .key_heads = 16,
     .value_heads = 32,
     .delta_dim = 128},
    {.name = "qwen3-30b-a3b",
     .hidden = 2048,
     .heads = 32,
     .kv_heads = 4,
     .head_dim = 128,
     .experts = 128,
     .top_k = 8,
     .expert_inner = 768,
     .key_heads = 16,
     .value_heads = 32,
     .delta_dim = 128},
};

struct Flags {
    std::string device = "cuda", shape{kShapes[0].name}, only, json, svg;
};

const Shapes& shapes_named(const std::string& name) {
    const auto* const found = std::ranges::find(kShapes, name, &Shapes::name);
    if (found != std::ranges::end(kShapes)) return *found;
    std::string names;
    for (const Shapes& each : kShapes) names += fmt::format("{}{}", names.empty() ? "" : ", ", each.name);
    fail(ErrorCode::kUsage, "--shape {}: there are {}", name, names);
}

void write_file(const std::string& path, const std::string& content) {
    if (path.empty()) return;
    std::ofstream file(path);
    file << content;
    if (!file.flush()) fail(ErrorCode::kIo, "{} could not be written", path);
}

void check_group(const std::string& name) {
    if (name.empty() || std::ranges::find(kCaseGroups, name, &CaseGroup::name) != std::ranges::end(kCaseGroups)) return;
    std::string names;
    for (const CaseGroup& each : kCaseGroups) names += fmt::format("{}{}", names.empty() ? "" : ", ", each.name);
    fail(ErrorCode::kUsage, "--only {}: there are {}", name, names);
}

void run(const Flags& flags) {
    const Shapes& shapes = shapes_named(flags.shape);
    check_group(flags.only);
    const bool cuda = flags.device == "cuda";
    if (!cuda && flags.device != "cpu") fail(ErrorCode::kUsage, "--device {}: there are cpu and cuda", flags.device);
    const auto backend = cuda ? make_cuda_backend({}) : make_cpu_backend({});
    const Limits limits = cuda ? cuda_limits(*backend) : cpu_limits(*backend);
    fmt::print("{}, shapes of {}\n{}\n{:12} {:44} {:>10} {:>8} {:>10} {:>8} {:>8}\n", backend->name(), shapes.name,
               limits_line(limits), "group", "kernel", "ms", "spread", "GFLOP/s", "GB/s", "of limit");
    std::vector<Measured> all;
    const AddCase add = [&](const KernelCase& each) {
        backend->wait();
        Timing timing = time_launches(each.launch, [&] { backend->wait(); });
        timing.seconds /= each.runs;
        all.push_back({each.group, each.name, each.flops, each.bytes, timing});
        fmt::print("{}\n", table_line(all.back(), limits));
        std::fflush(stdout);
        return timing.seconds;
    };
    for (const CaseGroup& group : kCaseGroups) {
        if (flags.only.empty() || flags.only == group.name) group.make(*backend, shapes, add);
    }
    write_file(flags.json, to_json(backend->name(), limits, all));
    write_file(flags.svg, to_svg(backend->name(), limits, all));
}

}  // namespace

}  // namespace sluice::bench

int main(int argc, char** argv) {
    sluice::bench::Flags flags;
    CLI::App app{"Times every kernel at the shapes of a model."};
    app.add_option("--device", flags.device, "cuda or cpu");
    app.add_option("--shape", flags.shape, "whose sizes the layers have");
    app.add_option("--only", flags.only, "one group of kernels");
    app.add_option("--json", flags.json, "a file for the results");
    app.add_option("--svg", flags.svg, "a file for a picture of them");
    CLI11_PARSE(app, argc, argv);
    try {
        sluice::bench::run(flags);
    } catch (const std::exception& error) {
        fmt::print(stderr, "sluice-kernel-bench: {}\n", error.what());
        return 1;
    }
    return 0;
}
