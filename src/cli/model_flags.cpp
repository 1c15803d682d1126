#include "cli/model_flags.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <random>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"
#include "cli/flag_checks.h"

namespace sluice::cli {

namespace {

constexpr const char* kModelGroup = "Running the model";
constexpr const char* kSamplingGroup = "Choosing tokens";

std::string device_problem(const std::string& device) {
    if (device == "cpu" || device == "reference" || device == "cuda") return {};
    constexpr std::string_view kCuda = "cuda:";
    const bool numbered = device.rfind(kCuda, 0) == 0 && device.size() > kCuda.size() &&
                          device.find_first_not_of("0123456789", kCuda.size()) == std::string::npos;
    return numbered ? std::string() : fmt::format("{} is not cpu, reference, cuda or cuda:N", device);
}

std::filesystem::path beside_program() {
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? std::filesystem::path() : program.parent_path().parent_path() / SLUICE_BUNDLED_INSTALLED;
}

uint64_t drawn_seed() {
    std::random_device device;
    return device();
}

}  // namespace

void add_model_argument(CLI::App& app, std::string& model) {
    app.add_option("MODEL", model, "A checkpoint directory; left out: the model that comes with Sluice")->type_name("");
}

namespace {

uint64_t size_argument(const std::string& text, const std::string& name) {
    try {
        return parse_size(text, name);
    } catch (const Error& error) {
        throw CLI::ValidationError(error.what());
    }
}

}  // namespace

void add_size_flag(CLI::App& app, const std::string& name, uint64_t& bytes, const std::string& description) {
    app.add_option_function<std::string>(
           name,
           [name, &bytes](const std::string& text) {
               bytes = size_argument(text, name);
               if (bytes == 0) throw CLI::ValidationError(name + ": must be more than nothing");
           },
           description)
        ->type_name("SIZE");
}

void add_chunk_flag(CLI::App& app, int64_t& chunk, const std::string& description) {
    app.add_option("--chunk", chunk, description)->check(at_least(1));
}

void add_log_flags(CLI::App& app, bool& quiet) {
    CLI::Option* const silent = app.add_flag_callback(
        "--quiet,-q",
        [&quiet] {
            quiet = true;
            set_log_level(LogLevel::kQuiet);
        },
        "Nothing on stderr but errors");
    app.add_flag_callback(
           "--verbose,-v", [] { set_log_level(LogLevel::kVerbose); }, "Say more on stderr")
        ->excludes(silent);
}

void add_engine_flags(CLI::App& app, ModelFlags& flags) {
    EngineOptions& engine = flags.engine;
    engine.prefix_memory_bytes = 0;  // one prompt a run: no second one could begin as it does
    app.add_option("--device", engine.device, "cpu, cuda, cuda:N, or reference (scalar, slow, for comparison)")
        ->check(CLI::Validator([](std::string& text) { return device_problem(text); }, ""))
        ->type_name("NAME")
        ->group(kModelGroup);
    app.add_option("--threads,-t", engine.threads,
                   "Compute threads; default: one per physical core this process may use")
        ->check(at_least(1))
        ->group(kModelGroup);
    app.add_flag("--pin-threads", engine.pin_threads, "Keep each of them on a core of its own")->group(kModelGroup);
    app.add_option("--instruction-set", engine.instruction_set, "Force one; default: the best this processor has")
        ->check(
            CLI::IsMember({"scalar", "avx2", "avxvnni", "avx512", "avx512vnni-no-vbmi", "avx512vnni", "amx", "neon"}))
        ->type_name("NAME")
        ->group(kModelGroup);
    app.add_option("--context,-c", engine.context,
                   "Tokens a conversation can hold; default: the model's own, at most 8192")
        ->check(at_least(1))
        ->group(kModelGroup);
    add_size_flag(app, "--ram", engine.ram_bytes,
                  "Ceiling for all that the process holds; default: from the memory that is free");
    add_size_flag(app, "--vram", engine.vram_bytes, "The same for the device's memory");
    app.get_option("--ram")->group(kModelGroup);
    app.get_option("--vram")->group(kModelGroup);
    app.add_flag("--lock-trunk", engine.lock_trunk, "Keep the trunk in memory whatever other programs need")
        ->group(kModelGroup);
    app.add_option("--kv", engine.kv_format, "KV cache numbers: bf16 (default), f32 (with --exact) or int8")
        ->check(CLI::IsMember({"f32", "bf16", "int8"}))
        ->type_name("NAME")
        ->group(kModelGroup);
    app.add_option("--io", engine.io, "How experts are read: auto, pread, uring or mmap")
        ->check(CLI::IsMember({"auto", "pread", "uring", "mmap"}))
        ->type_name("NAME")
        ->group(kModelGroup);
    app.add_option("--direct-io", engine.direct_io, "Read past the page cache: auto, on or off")
        ->check(CLI::IsMember({"auto", "on", "off"}))
        ->type_name("WHEN")
        ->group(kModelGroup);
    app.add_option("--look-ahead", engine.look_ahead,
                   "Read the next layer's probable experts while the drive is idle: auto (of prompts, and in "
                   "decoding while it pays), on or off")
        ->check(CLI::IsMember({"auto", "on", "off"}))
        ->type_name("WHEN")
        ->group(kModelGroup);
    app.add_option("--warm-start", engine.warm_start,
                   "on: learn which experts are used, in a file beside the model or in the user's cache folder, "
                   "and read them while the drive is idle after the next start; default: off")
        ->check(CLI::IsMember({"on", "off"}))
        ->type_name("WHEN")
        ->group(kModelGroup);
    app.add_flag("--exact", engine.exact, "float32 activations, KV and arithmetic on the weights as stored")
        ->group(kModelGroup);
    app.add_option_function<std::string>(
           "--prefix-cache", [&engine](const std::string& path) { engine.prefix_cache = path; },
           "Keep evaluated prompts in this folder, for the next run that begins the same way")
        ->type_name("DIR")
        ->group(kModelGroup);
    add_size_flag(app, "--prefix-cache-size", engine.prefix_cache_bytes, "Limit of that folder; default 4G");
    app.get_option("--prefix-cache-size")->group(kModelGroup);
    app.add_option_function<std::string>(
           "--prefix-memory",
           [&engine](const std::string& text) { engine.prefix_memory_bytes = size_argument(text, "--prefix-memory"); },
           "Memory, of --ram, for evaluated prompts of this run; default: chat takes some of what experts "
           "leave, other verbs none")
        ->type_name("SIZE")
        ->group(kModelGroup);
    app.add_option_function<std::string>(
           "--trace", [&engine](const std::string& path) { engine.trace = path; },
           "Save which experts were chosen, for cache-sim")
        ->type_name("F.safetensors")
        ->group(kModelGroup);
    add_log_flags(app, flags.quiet);
}

std::filesystem::path model_folder(const std::string& model) {
    if (!model.empty()) return model;
    for (const std::filesystem::path& candidate : {beside_program(), std::filesystem::path(SLUICE_BUNDLED_SOURCE)}) {
        std::error_code error;
        if (!candidate.empty() && std::filesystem::exists(candidate / "config.json", error)) return candidate;
    }
    fail(ErrorCode::kNotFound, "no MODEL was given and the bundled one is not at {}; name a checkpoint directory",
         beside_program().string());
}

std::unique_ptr<Engine> open_engine(const ModelFlags& flags) {
    return Engine::open(model_folder(flags.model), flags.engine);
}

void add_sampling_flags(CLI::App& app, SamplingFlags& flags) {
    app.add_option("--max-tokens,-n", flags.max_tokens, "Most tokens to generate")
        ->check(at_least(1))
        ->group(kSamplingGroup);
    app.add_option("--temperature", flags.temperature, "0: always the likeliest token")
        ->check(number_in(0, 100))
        ->group(kSamplingGroup);
    app.add_option("--top-k", flags.top_k, "Only the K likeliest tokens; 0: all")
        ->check(at_least(0))
        ->group(kSamplingGroup);
    app.add_option("--top-p", flags.top_p, "Only the likeliest tokens that make up this share; 1: all")
        ->check(number_in(0, 1))
        ->group(kSamplingGroup);
    app.add_option("--min-p", flags.min_p, "Only tokens at least this share as likely as the likeliest; 0: all")
        ->check(number_in(0, 1))
        ->group(kSamplingGroup);
    app.add_option("--repetition-penalty", flags.repetition_penalty, "Above 1 makes tokens seen before less likely")
        ->check(number_in(0.01, 100))
        ->group(kSamplingGroup);
    app.add_option("--seed", flags.seed, "The same seed gives the same text; default: a new one every time")
        ->check(at_least(0))
        ->group(kSamplingGroup);
    app.add_option("--stop", flags.stop, "Stop at this text; may be given again")
        ->take_all()
        ->allow_extra_args(false)
        ->group(kSamplingGroup);
    app.add_flag("--ignore-eos", flags.ignore_eos, "Go on after the model's end token")->group(kSamplingGroup);
}

GenerationOptions generation_options(const SamplingFlags& flags, const SamplingOptions& defaults, int64_t max_tokens) {
    GenerationOptions options;
    options.sampling = defaults;
    SamplingOptions& sampling = options.sampling;
    sampling.temperature = flags.temperature.value_or(defaults.temperature);
    sampling.top_k = flags.top_k.value_or(defaults.top_k);
    sampling.top_p = flags.top_p.value_or(defaults.top_p);
    sampling.min_p = flags.min_p.value_or(defaults.min_p);
    sampling.repetition_penalty = flags.repetition_penalty.value_or(defaults.repetition_penalty);
    sampling.seed = flags.seed ? *flags.seed : drawn_seed();
    options.max_tokens = flags.max_tokens.value_or(max_tokens);
    options.ignore_eos = flags.ignore_eos;
    for (const std::string& stop : flags.stop) {
        if (!stop.empty()) options.stop.push_back(stop);
    }
    return options;
}

}  // namespace sluice::cli
