#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/size.h"
#include "cli/byte_progress.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/checkpoint_tools.h"

namespace sluice::cli {

namespace {

struct Flags {
    SynthOptions options;
    std::string target;
    bool list = false, quiet = false;
};

void list_presets() {
    Output output;
    for (const SynthPreset& preset : synth_presets()) {
        output.write(fmt::format("{:<22}{} ({} layers, {} each)\n", preset.name, preset.description, preset.layers,
                                 format_size(preset.bytes_per_layer)));
    }
}

}  // namespace

RunVerb declare_synth(CLI::App& app) {
    auto flags = std::make_shared<Flags>();
    app.add_option("PRESET", flags->options.preset, "The shape; --list names them")->type_name("");
    app.add_option("DST", flags->target, "The folder to write")->type_name("");
    app.add_option("--layers", flags->options.layers, "Only this many layers; default: all")
        ->check(CLI::Range(int64_t{1}, int64_t{100000}))
        ->type_name("N");
    app.add_option("--seed", flags->options.seed, "Of the random weights");
    app.add_option("--quantize", flags->options.quantize,
                   "affine4 (default), affine8, bf16, or fp8 where the shape has it")
        ->check(CLI::IsMember({"affine4", "affine8", "bf16", "fp8"}))
        ->type_name("HOW");
    app.add_flag("--list", flags->list, "Name the shapes and stop");
    add_log_flags(app, flags->quiet);
    return [flags] {
        if (flags->list) return list_presets();
        if (flags->target.empty())
            throw UsageError("synth needs PRESET and DST; `sluice synth --list` names the presets");
        with_byte_progress("writing", flags->quiet, [&](const BytesCallback& progress) {
            synthesize(flags->target, flags->options, progress);
            return true;
        });
        if (!flags->quiet) fmt::print(stderr, "wrote {} to {}\n", flags->options.preset, flags->target);
    };
}

}  // namespace sluice::cli
