#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/flag.h"
#include "sluice/engine.h"
#include "sluice/options.h"

namespace sluice::cli {

// MODEL and the flags of every verb that runs one.
struct ModelFlags {
    std::string model;  // empty: the bundled one
    EngineOptions engine;
    std::string context_from;  // what the context follows from where it was not asked for by itself
    bool quiet = false;
};

Flag model_argument(std::string& model);
// A flag for every row of kEngineOptions that is of every verb, but those `without`; and the log's.
void add_engine_flags(FlagList& list, ModelFlags& flags, std::initializer_list<std::string_view> without = {});
// --quiet and --verbose, which set the log level as they are parsed.
void add_log_flags(FlagList& list, bool& quiet);

// The folder that MODEL names; for an empty one the bundled model's: <prefix>/share/sluice/models/stories-hybrid beside
// the installed program, or models/stories-hybrid of the source tree. Throws kNotFound where there is none.
std::filesystem::path model_folder(const std::string& model);

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
