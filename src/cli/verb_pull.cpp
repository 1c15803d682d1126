#include <cstdlib>
#include <memory>

#include "base/log.h"
#include "base/size.h"
#include "base/user_folders.h"
#include "cli/byte_progress.h"
#include "cli/interrupt.h"
#include "cli/model_flags.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "hub/pull.h"

namespace sluice::cli {

namespace {

struct Flags {
    std::string repository, file, endpoint, folder;
    bool quiet = false;
};

std::string environment(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? std::string() : value;
}

hub::PullOptions options_of(const Flags& flags) {
    const std::optional<hub::ModelName> model = hub::read_model_name(flags.repository);
    if (!model || model->repository.find('/') == std::string::npos) {
        throw UsageError(
            fmt::format("\"{}\" is no name of a model; a hub calls them ORGANIZATION/NAME", flags.repository));
    }
    hub::PullOptions options{.endpoint = flags.endpoint,
                             .token = environment("HF_TOKEN"),
                             .model = *model,
                             .folder = expand_home(flags.folder)};
    if (!flags.file.empty()) options.model.file = flags.file;
    if (options.endpoint.empty()) options.endpoint = environment("HF_ENDPOINT");
    if (options.endpoint.empty()) {
        throw UsageError("no hub to download from; give its address with --endpoint, or in HF_ENDPOINT");
    }
    return options;
}

void pull(const Flags& flags) {
    const hub::PullOptions options = options_of(flags);
    const InterruptHold hold;
    const hub::PullReport report = with_byte_progress(
        "downloading", flags.quiet, [&](const BytesCallback& progress) { return hub::pull(options, progress); });
    if (!flags.quiet) {
        tell("{} files, {}{}{}{}\n", report.files, format_size(report.bytes),
             report.files_there > 0 ? fmt::format("; {} were there already", report.files_there) : "",
             report.bytes_resumed > 0 ? fmt::format("; {} from earlier runs", format_size(report.bytes_resumed)) : "",
             report.unchecked > 0 ? fmt::format("; {} not checked: the hub names no checksums", report.unchecked)
                                  : "; every checksum holds");
    }
    Output().write(report.folder.string() + "\n");
}

}  // namespace

Command declare_pull() {
    auto flags = std::make_shared<Flags>();
    Command command;
    FlagList& list = command.flags;
    list.push_back(argument("REPO", flags->repository,
                            "The model as the hub calls it: ORGANIZATION/NAME, or "
                            "ORGANIZATION/NAME@REVISION",
                            true));
    list.push_back(argument("FILE", flags->file,
                            "One file of it, with all parts of a GGUF model, or a pattern with *; "
                            "left out: what belongs to the model in safetensors, or its one GGUF model"));
    list.push_back(text_flag("--endpoint", flags->endpoint, "The hub's address; default: HF_ENDPOINT", "URL"));
    list.push_back(text_flag("--model-dir", flags->folder,
                             "Make a folder of the model's name in this one; default: the cache that other programs "
                             "share (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface)",
                             "DIR"));
    add_log_flags(list, flags->quiet);
    command.run = [flags] { pull(*flags); };
    return command;
}

}  // namespace sluice::cli
