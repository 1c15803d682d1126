#include <fmt/core.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "cli/manual_page.h"
#include "cli/output.h"
#include "cli/verb.h"

namespace sluice::cli {

namespace {

struct Flags {
    const Verb* verb = nullptr;
    std::string folder;
};

std::string take_verb(Flags& flags, const std::string& text) {
    for (const Verb& verb : verbs()) {
        if (verb.name != text) continue;
        flags.verb = &verb;
        return {};
    }
    return fmt::format("\"{}\" is no verb; `sluice --help` lists them", text);
}

void write_all(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) fail(ErrorCode::kIo, "{}: {}", folder.string(), error.message());
    write_text_file(folder / "sluice.1", manual_of_program());
    for (const Verb& verb : verbs()) write_text_file(folder / fmt::format("sluice-{}.1", verb.name), manual_of(verb));
}

}  // namespace

Command declare_manual() {
    auto flags = std::make_shared<Flags>();
    Command command;
    command.flags.push_back({.names = "VERB",
                             .help = "Whose page; left out: the program's",
                             .take = [flags](const std::string& text) { return take_verb(*flags, text); }});
    command.flags.push_back(
        text_flag("--output-dir", flags->folder, "Write all pages into this folder, as man finds them", "DIR"));
    command.run = [flags] {
        if (!flags->folder.empty()) return write_all(flags->folder);
        Output().write(flags->verb == nullptr ? manual_of_program() : manual_of(*flags->verb));
    };
    return command;
}

}  // namespace sluice::cli
