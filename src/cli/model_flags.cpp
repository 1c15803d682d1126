#include "cli/model_flags.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <random>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/user_folders.h"
#include "cli/interrupt.h"
#include "hub/local_models.h"
#include "sluice/launch.h"

namespace sluice::cli {

namespace {

constexpr const char* kModelGroup = "Running the model";
constexpr const char* kSamplingGroup = "Choosing tokens (left out: as the model's generation_config.json says)";

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

void add_model_flags(FlagList& list, ModelChoice& model) {
    list.push_back(argument("MODEL", model.name,
                            "A checkpoint directory, a GGUF file, or the name of a model that was downloaded (`sluice "
                            "list` shows them); left out: the model that comes with Sluice"));
    list.push_back(model_dir_flag(model.folders));
}

Flag model_dir_flag(std::vector<std::filesystem::path>& folders) {
    Flag flag{.names = "--model-dir",
              .help = "A folder of models, to be searched by name before the cache of downloads; may be given again",
              .value = "DIR"};
    flag.take = [&folders](const std::string& text) {
        folders.push_back(expand_home(text));
        return std::string(text.empty() ? "is empty; name a folder" : "");
    };
    flag.repeated = true;
    return flag;
}

void add_log_flags(FlagList& list, bool& quiet) {
    const auto say = [](LogLevel level) {
        return [level](const std::string&) {
            set_log_level(level);
            return std::string();
        };
    };
    Flag silent = switch_flag("--quiet,-q", quiet, "Nothing on stderr but errors");
    silent.take = [&quiet](const std::string&) {
        quiet = true;
        set_log_level(LogLevel::kQuiet);
        return std::string();
    };
    list.push_back(std::move(silent));
    list.push_back({.names = "--verbose,-v",
                    .help = "Say more on stderr",
                    .take = say(LogLevel::kVerbose),
                    .excludes = "--quiet"});
}

void add_engine_flags(Command& command, ModelFlags& flags, std::initializer_list<std::string_view> without) {
    command.help = [&flags] { work_for_leader(model_folder(flags.model), flags.engine); };
    FlagList& list = command.flags;
    flags.engine.prefix_memory_bytes = 0;  // one prompt a run: no second one could begin as it does
    for (const Option<EngineOptions>& option : kEngineOptions) {
        const bool left_out = std::find(without.begin(), without.end(), option.name) != without.end();
        if (!option.of_every_verb || left_out) continue;
        list.push_back(option_flag(option, flags.engine));
        list.back().group = kModelGroup;
    }
    add_log_flags(list, flags.quiet);
}

std::filesystem::path model_folder(const ModelChoice& model) {
    if (!model.name.empty()) {
        std::error_code error;
        const std::optional<hub::ModelName> name = hub::read_model_name(model.name);
        if (!name || std::filesystem::exists(model.name, error)) return model.name;
        return hub::find_model(*name, model.folders);
    }
    for (const std::filesystem::path& candidate : {beside_program(), std::filesystem::path(SLUICE_BUNDLED_SOURCE)}) {
        std::error_code error;
        if (!candidate.empty() && std::filesystem::exists(candidate / "config.json", error)) return candidate;
    }
    fail(ErrorCode::kNotFound, "no MODEL was given and the bundled one is not at {}; name a checkpoint directory",
         beside_program().string());
}

std::unique_ptr<Engine> open_engine(const ModelFlags& flags) {
    try {
        EngineOptions options = flags.engine;
        options.peers = !flags.alone && launched().with_others();
        return Engine::open(model_folder(flags.model), options);
    } catch (const Error& error) {
        constexpr std::string_view kContext = "`context`";
        std::string message = error.what();
        const size_t at = message.find(kContext);
        if (flags.context_from.empty() || at == std::string::npos) throw;
        throw Error(error.code(), message.replace(at, kContext.size(), flags.context_from));
    }
}

void add_sampling_flags(FlagList& list, SamplingFlags& flags, int64_t max_tokens) {
    flags.generation.max_tokens = max_tokens;
    const size_t first = list.size();
    for (const Option<GenerationOptions>& option : kGenerationOptions)
        list.push_back(option_flag(option, flags.generation));
    for (const Option<SamplingOptions>& option : kSamplingOptions) {
        list.push_back(option_flag(option, flags.generation.sampling, false));
        list.back().take = [&flags, &option](const std::string& text) {
            flags.given.push_back({&option, text});
            return assign(option, flags.generation.sampling, text);
        };
    }
    Flag stop{.names = "--stop", .help = "Stop at this text; may be given again", .value = "TEXT"};
    stop.take = [&flags](const std::string& text) {
        if (!text.empty()) flags.generation.stop.push_back(text);
        return std::string();
    };
    stop.repeated = true;
    list.push_back(std::move(stop));
    for (size_t i = first; i < list.size(); ++i) list[i].group = kSamplingGroup;
}

GenerationOptions generation_options(const SamplingFlags& flags, const SamplingOptions& defaults) {
    GenerationOptions options = flags.generation;
    options.sampling = defaults;
    options.sampling.seed = drawn_seed();
    options.cancelled = &interrupt_flag();
    for (const SamplingFlags::Given& given : flags.given) assign(*given.option, options.sampling, given.text);
    return options;
}

}  // namespace sluice::cli
