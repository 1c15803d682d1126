#include <fmt/core.h>

#include <memory>

#include "base/log.h"
#include "base/size.h"
#include "cli/byte_progress.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/synthesize.h"

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
        output.write(fmt::format("{:<28}{} ({} layers, {} each)\n", preset.name, preset.description, preset.layers,
                                 format_size(preset.bytes_per_layer)));
    }
}

}  // namespace

Command declare_synth() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(
        argument("SHAPE", flags->options.preset, "A preset (--list names them), or a published config.json"));
    list.push_back(argument("DST", flags->target, "The folder to write"));
    for (const Option<SynthOptions>& option : kSynthOptions) list.push_back(option_flag(option, flags->options));
    list.push_back(switch_flag("--list", flags->list, "Name the shapes and stop"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] {
        if (flags->list) return list_presets();
        if (flags->target.empty())
            throw UsageError("synth needs SHAPE and DST; `sluice synth --list` names the presets");
        const InterruptHold hold;
        with_byte_progress("writing", flags->quiet, [&](const BytesCallback& progress) {
            synthesize(flags->target, flags->options, progress);
            return true;
        });
        if (!flags->quiet) tell("wrote {} to {}\n", flags->options.preset, flags->target);
    };
    return command;
}

}  // namespace sluice::cli
