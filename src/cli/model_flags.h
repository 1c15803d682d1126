#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/flag.h"
#include "cli/verb.h"
#include "sluice/engine.h"
#include "sluice/options.h"

namespace sluice::cli {

// Which model: MODEL, and the folders in which it is looked for by name.
struct ModelChoice {
    std::string name = {};  // a path or a name; empty: the bundled one
    std::vector<std::filesystem::path> folders = {};
};

// MODEL and the flags of every verb that runs one.
struct ModelFlags {
    ModelChoice model;
    EngineOptions engine;
    std::string context_from;  // what the context follows from where it was not asked for by itself
    bool quiet = false;
    bool alone = false;  // even where a launcher started others beside this process
};

// MODEL and --model-dir.
void add_model_flags(FlagList& list, ModelChoice& model);
Flag model_dir_flag(std::vector<std::filesystem::path>& folders);
// Of a verb that runs a model: a flag for every row of kEngineOptions that is of every verb, but those `without`; and
// the log's.
void add_engine_flags(Command& command, ModelFlags& flags, std::initializer_list<std::string_view> without = {});
// --quiet and --verbose, which set the log level as they are parsed.
void add_log_flags(FlagList& list, bool& quiet);

// The folder or file that MODEL names: by its path, else by its name in one of the folders or the cache of downloads
// (hub/local_models.h). For an empty one the bundled model's: <prefix>/share/sluice/models/stories-hybrid beside the
// installed program, or models/stories-hybrid of the source tree. Throws kNotFound where there is none.
std::filesystem::path model_folder(const ModelChoice& model);

std::unique_ptr<Engine> open_engine(const ModelFlags& flags);

// Flags of generating. What is given of sampling lies over what generation_config.json says.
struct SamplingFlags {
    struct Given {
        const Option<SamplingOptions>* option;
        std::string text;
    };
    GenerationOptions generation;
    std::vector<Given> given;
};

// `max_tokens`: where no flag says.
void add_sampling_flags(FlagList& list, SamplingFlags& flags, int64_t max_tokens);

// The checkpoint's defaults with the flags laid over them. Without --seed a new seed is drawn; it is in the result, so
// that a run can be repeated.
GenerationOptions generation_options(const SamplingFlags& flags, const SamplingOptions& defaults);

}  // namespace sluice::cli
