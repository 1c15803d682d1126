#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/size.h"
#include "cli/byte_progress.h"
#include "cli/model_flags.h"
#include "cli/verb.h"
#include "sluice/checkpoint_tools.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::string source, target;
    PackOptions options;
    bool verify = false, quiet = false;
};

void say(const Flags& flags, const std::string& text) {
    if (!flags.quiet) fmt::print(stderr, "{}\n", text);
}

void verify(const Flags& flags, const std::string& folder) {
    const PackReport report = with_byte_progress(
        "verifying", flags.quiet, [&](const BytesCallback& progress) { return verify_packed(folder, progress); });
    say(flags, fmt::format("verified {} records, {}: every checksum holds", report.records, format_size(report.bytes)));
}

void pack_checkpoint(const Flags& flags) {
    const PackReport report = with_byte_progress("packing", flags.quiet, [&](const BytesCallback& progress) {
        return pack(flags.source, flags.target, flags.options, progress);
    });
    say(flags,
        fmt::format("packed {} expert records into {} files, {}, {}{}", report.records, report.files,
                    format_size(report.bytes), report.quantization,
                    report.records_reused > 0 ? fmt::format(" ({} records were already there)", report.records_reused)
                                              : std::string()));
    if (flags.verify) verify(flags, flags.target);
}

}  // namespace

RunVerb declare_pack(CLI::App& app) {
    auto flags = std::make_shared<Flags>();
    app.add_option("SRC", flags->source, "The checkpoint to read")->required()->type_name("");
    app.add_option("DST", flags->target, "The folder to write; made if missing")->type_name("");
    app.add_option("--quantize", flags->options.quantize, "none, affine4 or affine8")
        ->check(CLI::IsMember({"none", "affine4", "affine8"}))
        ->type_name("HOW");
    app.add_option("--group-size", flags->options.group_size, "Weights that share a scale: 32, 64 or 128")
        ->check(CLI::IsMember({32, 64, 128}))
        ->type_name("N");
    app.add_flag("--verify", flags->verify,
                 "Hold every record against its checksum; with SRC alone, nothing is written");
    add_log_flags(app, flags->quiet);
    return [flags] {
        if (!flags->target.empty()) {
            pack_checkpoint(*flags);
        } else if (flags->verify) {
            verify(*flags, flags->source);
        } else {
            throw UsageError("pack needs SRC and DST; `sluice pack --verify DIR` checks a packed checkpoint");
        }
    };
}

}  // namespace sluice::cli
