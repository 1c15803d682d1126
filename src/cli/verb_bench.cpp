#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/machine_speed.h"
#include "base/memory.h"
#include "base/progress.h"
#include "base/size.h"
#include "cli/bench_prompt.h"
#include "cli/estimate.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/phase_profile.h"
#include "cli/prompt_flags.h"
#include "cli/run_report.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "sluice/disk_measurement.h"
#include "sluice/model_report.h"

namespace sluice::cli {

namespace {

constexpr double kDiskSecondsPerRow = 0.1;

struct Flags {
    ModelFlags model;
    std::string tokens;
    int64_t prompt_tokens = 512, generate_tokens = 64, repeat = 3;
    bool json = false;
};

// One repetition: what generate() says, and the reads of its two halves apart.
struct Run {
    GenerationResult result;
    ExpertCounters prefill_experts, decode_experts;
    uint64_t decoded = 0;          // tokens evaluated one by one
    PhaseProfile prefill, decode;  // with --profile
};

struct Bounds {
    MachineSpeed speed;
    ArithmeticPeak peak;
    double decode_tokens_per_s = 0, prefill_tokens_per_s = 0;
};

struct Bench {
    EngineInfo info;
    GenerationOptions options;
    bool has_tokenizer = false, profiled = false;
    std::vector<Run> runs;
    uint64_t peak_resident = 0;  // before the bounds were measured
    Bounds bounds;

    // The repetition that took a middle time in all stands for all: never one with a cold cache, if there is another.
    const Run& median() const {
        const auto seconds = [](const Run* run) { return run->result.prefill_s + run->result.decode_s; };
        std::vector<const Run*> order;
        for (const Run& run : runs) order.push_back(&run);
        std::sort(order.begin(), order.end(), [&](const Run* a, const Run* b) { return seconds(a) < seconds(b); });
        return *order[(order.size() - 1) / 2];
    }
};

ProfileMoment profile_moment(const Engine& engine) {
    return {.operations = engine.profile(), .stall_s = engine.statistics().experts.stall_seconds};
}

Run run_once(Engine& engine, const std::vector<TokenId>& prompt, const GenerationOptions& options, Progress& progress,
             uint64_t already_done) {
    const std::unique_ptr<Session> session = engine.new_session();
    const ExpertCounters before = engine.statistics().experts;
    ExpertCounters at_first = before;
    uint64_t generated = 0;
    const ProfileMoment begin = profile_moment(engine);
    ProfileMoment first = begin;
    Run run;
    run.result = engine.generate(
        *session, prompt, options,
        [&](TokenId, const std::string&) {
            if (generated++ == 0) {
                at_first = engine.statistics().experts;
                first = profile_moment(engine);
            }
            progress.advance_to(already_done + prompt.size() + generated);
            return !interrupted();
        },
        [&](int64_t done, int64_t) {
            progress.advance_to(already_done + static_cast<uint64_t>(done));
            return !interrupted();
        });
    if (interrupted()) fail(ErrorCode::kCancelled, "interrupted before the measurement was complete");
    run.prefill_experts = at_first - before;
    run.decode_experts = run.result.spent.experts - run.prefill_experts;
    run.decoded = run.result.spent.tokens_evaluated - run.result.prefilled_tokens;
    ProfileMoment end = profile_moment(engine);
    end.sampling_s = run.result.sampling_s;
    run.prefill = phase_profile(begin, first, run.result.prefill_s);
    run.decode = phase_profile(first, end, run.result.decode_s);
    return run;
}

// Measured after the model is closed, so that the buffers do not come on top of --ram.
Bounds measure_bounds(const Flags& flags, const EngineInfo& info, const Run& run) {
    Bounds bounds;
    const std::filesystem::path folder = model_folder(flags.model.model);
    const ModelReport model = inspect(folder);
    ThreadPool pool(info.threads);
    bounds.speed.memory_bytes_per_s = measure_memory_bandwidth(pool);
    const uint64_t read_bytes = measured_read_bytes(model.bytes_per_expert);
    bounds.speed.disk_bytes_per_s =
        best_disk_speed(measure_disk(folder, read_bytes, kDiskSecondsPerRow), info.direct_io);
    bounds.peak = info.exact ? measure_float_peak(pool) : measure_int8_peak(pool);

    const double miss_bytes =
        run.decoded > 0 ? static_cast<double>(run.decode_experts.bytes_read) / static_cast<double>(run.decoded) : 0;
    const double prompt = static_cast<double>(run.result.prompt_ids.size());
    const double mean_context = prompt + static_cast<double>(run.result.token_ids.size()) / 2;
    bounds.decode_tokens_per_s = decode_bound(model, bounds.speed, miss_bytes, mean_context).tokens_per_s();
    // Only the last token of a prompt needs logits.
    const auto head = static_cast<double>(model.vocabulary * model.hidden_size);
    const double products = (static_cast<double>(model.weights_per_token) - head) * prompt + head;
    const double arithmetic_s = 2 * products / bounds.peak.operations_per_second;
    const double disk_s = bounds.speed.disk_bytes_per_s > 0
                              ? static_cast<double>(run.prefill_experts.bytes_read) / bounds.speed.disk_bytes_per_s
                              : 0;
    bounds.prefill_tokens_per_s = per_second(prompt, std::max(arithmetic_s, disk_s));
    return bounds;
}

Bench measure(Flags flags) {
    std::vector<TokenId> given;
    if (!flags.tokens.empty()) {
        given = read_token_file(flags.tokens);
        flags.prompt_tokens = static_cast<int64_t>(given.size());
    }
    if (flags.model.engine.context == 0) {
        flags.model.engine.context = flags.prompt_tokens + flags.generate_tokens;
        flags.model.context_from = "--prompt-tokens with --generate-tokens";
    }
    std::unique_ptr<Engine> engine = open_engine(flags.model);
    const std::vector<TokenId> prompt = prompt_ids(
        {.text = {}, .ids = given.empty() ? bench_prompt(*engine, static_cast<size_t>(flags.prompt_tokens)) : given},
        *engine);
    Bench bench;
    bench.info = engine->info();
    bench.has_tokenizer = engine->tokenizer() != nullptr;
    bench.profiled = flags.model.engine.profile;
    // Sampled as a user would, but repeatable and never ended early.
    bench.options.sampling = engine->defaults().sampling;
    bench.options.sampling.seed = 1;
    bench.options.max_tokens = flags.generate_tokens;
    bench.options.ignore_eos = true;
    bench.options.cancelled = &interrupt_flag();
    const uint64_t tokens_per_run = prompt.size() + static_cast<uint64_t>(flags.generate_tokens);
    {
        const InterruptHold hold;
        Progress progress("measuring", tokens_per_run * static_cast<uint64_t>(flags.repeat), !flags.model.quiet);
        for (int64_t i = 0; i < flags.repeat; ++i) {
            bench.runs.push_back(
                run_once(*engine, prompt, bench.options, progress, tokens_per_run * static_cast<uint64_t>(i)));
        }
    }
    engine->save_trace();
    bench.peak_resident = peak_resident_bytes();
    engine.reset();
    bench.bounds = measure_bounds(flags, bench.info, bench.median());
    return bench;
}

std::string percent_of(double value, double bound) {
    return bound > 0 ? fmt::format("{:.0f} %", 100 * value / bound) : "-";
}

uint64_t link_bytes(const ExpertCounters& experts) {
    return experts.copied_bytes + experts.reached_bytes;
}

// Tokens per second at which the link to the card would do nothing but bring experts.
double link_bound(const ExpertCounters& experts, uint64_t tokens, double bytes_per_s) {
    return per_second(static_cast<double>(tokens), static_cast<double>(link_bytes(experts)) / bytes_per_s);
}

nlohmann::ordered_json link_json(const ExpertCounters& experts, uint64_t tokens, double bytes_per_s) {
    return {{"bytes", link_bytes(experts)},
            {"requests_on_card", experts.hits - experts.host_hits},
            {"requests_in_memory", experts.host_hits},
            {"requests_read", experts.misses},
            {"bound_tokens_per_s", link_bound(experts, tokens, bytes_per_s)}};
}

// What the link carried, and how near to its rate both halves came.
std::string link_text(const Bench& bench) {
    const double rate = bench.info.link_bytes_per_s;
    if (rate <= 0) return {};
    const Run& run = bench.median();
    const RunFigures figures = figures_of(run.result);
    const auto half = [&](const char* name, const ExpertCounters& experts, uint64_t tokens, double reached) {
        const double bound = link_bound(experts, tokens, rate);
        return fmt::format("{} {}, no more than {:.0f} tok/s ({} of that)", name, format_size(link_bytes(experts)),
                           bound, percent_of(reached, bound));
    };
    return fmt::format("link {:.1f} GB/s: {}; {}\n", rate / 1e9,
                       half("prefill", run.prefill_experts, run.result.prefilled_tokens, figures.prefill_tokens_per_s),
                       half("decode", run.decode_experts, run.decoded, figures.decode_tokens_per_s));
}

nlohmann::ordered_json bench_json(const Bench& bench) {
    const Run& run = bench.median();
    const RunFigures figures = figures_of(run.result);
    nlohmann::ordered_json document = {
        {"prompt_tokens", run.result.prompt_ids.size()},
        {"generated_tokens", run.result.token_ids.size()},
        {"token_ids", run.result.token_ids},
        {"text", nullptr},
        {"ttft_s", run.result.time_to_first_token_s},
        {"prefill_tokens_per_s", figures.prefill_tokens_per_s},
        {"decode_tokens_per_s", figures.decode_tokens_per_s},
        {"prefill_bound_tokens_per_s", bench.bounds.prefill_tokens_per_s},
        {"decode_bound_tokens_per_s", bench.bounds.decode_tokens_per_s},
        {"prefill_ratio_to_bound", per_second(figures.prefill_tokens_per_s, bench.bounds.prefill_tokens_per_s)},
        {"decode_ratio_to_bound", per_second(figures.decode_tokens_per_s, bench.bounds.decode_tokens_per_s)},
        {"memory_bandwidth_bytes_per_s", bench.bounds.speed.memory_bytes_per_s},
        {"disk_bandwidth_bytes_per_s", bench.bounds.speed.disk_bytes_per_s},
        {"arithmetic_peak_operations_per_s", bench.bounds.peak.operations_per_second},
        {"arithmetic_peak_instructions", bench.bounds.peak.instructions},
    };
    if (bench.has_tokenizer) document["text"] = run.result.text;
    add_expert_keys(document, run.result.spent);
    document["prefill_expert_bytes_read"] = run.prefill_experts.bytes_read;
    document["decode_expert_bytes_per_token"] =
        per_second(static_cast<double>(run.decode_experts.bytes_read), static_cast<double>(run.decoded));
    if (bench.info.link_bytes_per_s > 0) {
        document["prefill_link"] =
            link_json(run.prefill_experts, run.result.prefilled_tokens, bench.info.link_bytes_per_s);
        document["decode_link"] = link_json(run.decode_experts, run.decoded, bench.info.link_bytes_per_s);
    }
    if (bench.profiled) {
        document["profile"] = {{"prefill", profile_json(run.prefill)}, {"decode", profile_json(run.decode)}};
    }
    document["peak_rss_bytes"] = bench.peak_resident;
    add_engine_keys(document, bench.info);
    document["runs"] = nlohmann::ordered_json::array();
    for (const Run& each : bench.runs) {
        const RunFigures of_run = figures_of(each.result);
        document["runs"].push_back({{"prefill_tokens_per_s", of_run.prefill_tokens_per_s},
                                    {"decode_tokens_per_s", of_run.decode_tokens_per_s},
                                    {"ttft_s", each.result.time_to_first_token_s},
                                    {"hit_rate", of_run.hit_rate},
                                    {"expert_bytes_read", each.result.spent.experts.bytes_read},
                                    {"stall_s", each.result.spent.experts.stall_seconds}});
    }
    return document;
}

std::string bench_text(const Bench& bench) {
    Table table({"run", "prefill tok/s", "decode tok/s", "first token s", "hit rate", "read per token", "stall s"});
    for (size_t i = 0; i < bench.runs.size(); ++i) {
        const GenerationResult& result = bench.runs[i].result;
        const RunFigures figures = figures_of(result);
        table.add({std::to_string(i + 1), fmt::format("{:.1f}", figures.prefill_tokens_per_s),
                   fmt::format("{:.1f}", figures.decode_tokens_per_s),
                   fmt::format("{:.2f}", result.time_to_first_token_s), fmt::format("{:.1f} %", 100 * figures.hit_rate),
                   format_size(static_cast<uint64_t>(figures.expert_bytes_per_token)),
                   fmt::format("{:.2f}", result.spent.experts.stall_seconds)});
    }
    const RunFigures median = figures_of(bench.median().result);
    const Bounds& bounds = bench.bounds;
    std::string profile;
    if (bench.profiled) {
        profile = "\n" + profile_text("prefill", bench.median().prefill) + "\n" +
                  profile_text("decode", bench.median().decode);
    }
    // Of a card the link is what is measured, below.
    std::string limits;
    if (!on_card(bench.info)) {
        table.add({"bound", fmt::format("{:.1f}", bounds.prefill_tokens_per_s),
                   fmt::format("{:.1f}", bounds.decode_tokens_per_s)});
        table.add({"reached", percent_of(median.prefill_tokens_per_s, bounds.prefill_tokens_per_s),
                   percent_of(median.decode_tokens_per_s, bounds.decode_tokens_per_s)});
        limits = fmt::format("bounds: memory {:.1f} GB/s, drive {:.2f} GB/s ({}), arithmetic {:.0f} GOP/s ({})\n",
                             bounds.speed.memory_bytes_per_s / 1e9, bounds.speed.disk_bytes_per_s / 1e9,
                             bench.info.direct_io ? "direct" : "through the page cache",
                             bounds.peak.operations_per_second / 1e9, bounds.peak.instructions);
    }
    return table.text() + describe_peers(bench.median().result.spent) + limits + describe_engine(bench.info) +
           "\nmemory " + memory_spent(bench.info, bench.peak_resident) + "\n" +
           tier_shares(bench.info, bench.median().result.spent) + link_text(bench) + profile;
}

}  // namespace

Command declare_bench() {
    constexpr int64_t kMost = int64_t{1} << 30;
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    add_model_flags(list, flags->model.model);
    list.push_back(count_flag("--prompt-tokens", flags->prompt_tokens, "Length of the prompt; default: 512", 1, kMost));
    list.push_back(text_flag("--tokens", flags->tokens, "Measure on these ids instead", "F.json"));
    list.push_back(
        count_flag("--generate-tokens", flags->generate_tokens, "Tokens to generate; default: 64", 1, kMost));
    list.push_back(count_flag("--repeat", flags->repeat, "Repetitions, the first one cold; default: 3", 1, kMost));
    for (const Option<EngineOptions>& option : kEngineOptions) {
        if (option.name == "profile") list.push_back(option_flag(option, flags->model.engine));
    }
    list.push_back(switch_flag("--json", flags->json, "One JSON object instead of the table"));
    add_engine_flags(command, flags->model);
    command.run = [flags] {
        const Bench bench = measure(*flags);
        Output output;
        if (flags->json) {
            write_json(output, bench_json(bench));
        } else {
            output.write(bench_text(bench));
        }
    };
    return command;
}

}  // namespace sluice::cli
