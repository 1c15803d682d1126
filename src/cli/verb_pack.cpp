#include <fmt/core.h>

#include <memory>

#include "base/log.h"
#include "base/size.h"
#include "cli/byte_progress.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/verb.h"
#include "sluice/pack.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::string source, target;
    PackOptions options;
    bool verify = false, quiet = false;
};

void say(const Flags& flags, const std::string& text) {
    if (!flags.quiet) tell("{}\n", text);
}

void verify(const Flags& flags, const std::string& folder) {
    const PackReport report = with_byte_progress(
        "verifying", flags.quiet, [&](const BytesCallback& progress) { return verify_packed(folder, progress); });
    say(flags, fmt::format("verified {} records, {}: every checksum holds", report.records, format_size(report.bytes)));
}

void pack_checkpoint(const Flags& flags) {
    const PackReport report = with_byte_progress("packing", flags.quiet, [&](const BytesCallback& progress) {
        return pack(model_folder({.name = flags.source}), flags.target, flags.options, progress);
    });
    say(flags,
        fmt::format("packed {} expert records into {} files, {}, {}{}", report.records, report.files,
                    format_size(report.bytes), report.quantization,
                    report.records_reused > 0 ? fmt::format(" ({} records were already there)", report.records_reused)
                                              : std::string()));
    if (flags.verify) verify(flags, flags.target);
}

}  // namespace

Command declare_pack() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(argument("SRC", flags->source, "The checkpoint to read", true));
    list.push_back(argument("DST", flags->target, "The folder to write; made if missing"));
    for (const Option<PackOptions>& option : kPackOptions) list.push_back(option_flag(option, flags->options));
    list.push_back(switch_flag("--verify", flags->verify,
                               "Hold every record against its checksum; with SRC alone, nothing is written"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] {
        const InterruptHold hold;
        if (!flags->target.empty()) {
            pack_checkpoint(*flags);
        } else if (flags->verify) {
            verify(*flags, model_folder({.name = flags->source}).string());
        } else {
            throw UsageError("pack needs SRC and DST; `sluice pack --verify DIR` checks a packed checkpoint");
        }
    };
    return command;
}

}  // namespace sluice::cli
