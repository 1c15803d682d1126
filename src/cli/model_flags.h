#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sluice/engine.h"
#include "sluice/options.h"

namespace CLI {
class App;
}

namespace sluice::cli {

// MODEL and the flags of every verb that runs one.
struct ModelFlags {
    std::string model;  // empty: the bundled one
    EngineOptions engine;
    bool quiet = false;
};

void add_model_argument(CLI::App& app, std::string& model);
void add_engine_flags(CLI::App& app, ModelFlags& flags);
// --quiet and --verbose, which set the log level as they are parsed.
void add_log_flags(CLI::App& app, bool& quiet);
void add_chunk_flag(CLI::App& app, int64_t& chunk, const std::string& description);
// A SIZE flag: bytes, or a number with K, M, G or T.
void add_size_flag(CLI::App& app, const std::string& name, uint64_t& bytes, const std::string& description);

// The folder that MODEL names; for an empty one the bundled model's: <prefix>/share/sluice/models/stories-hybrid beside
// the installed program, or models/stories-hybrid of the source tree. Throws kNotFound where there is none.
std::filesystem::path model_folder(const std::string& model);

std::unique_ptr<Engine> open_engine(const ModelFlags& flags);

// Flags that override what generation_config.json says; those not given leave it alone.
struct SamplingFlags {
    std::optional<double> temperature, top_p, min_p, repetition_penalty;
    std::optional<int64_t> top_k;
    std::optional<uint64_t> seed;
    std::optional<int64_t> max_tokens;
    std::vector<std::string> stop;
    bool ignore_eos = false;
};

void add_sampling_flags(CLI::App& app, SamplingFlags& flags);

// The checkpoint's defaults with the flags laid over them. Without --seed a new seed is drawn; it is in the result, so
// that a run can be repeated.
GenerationOptions generation_options(const SamplingFlags& flags, const SamplingOptions& defaults, int64_t max_tokens);

}  // namespace sluice::cli
