#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "sluice/error.h"

namespace sluice::cli {

namespace {

// One line on stderr, whatever the message holds.
int complain(std::string message, int status) {
    std::replace(message.begin(), message.end(), '\n', ' ');
    while (!message.empty() && message.back() == ' ') message.pop_back();
    fmt::print(stderr, "sluice: {}\n", message);
    return status;
}

bool is_verb(std::string_view word) {
    const auto all = verbs();
    return std::any_of(all.begin(), all.end(), [&](const Verb& verb) { return verb.name == word; });
}

class HelpFormatter : public CLI::Formatter {
  public:
    HelpFormatter() { column_width(34); }
    std::string make_usage(const CLI::App* app, std::string /*name*/) const override {
        if (app->get_parent() == nullptr) return "Usage: sluice VERB [MODEL] [flags]\n";
        return CLI::Formatter::make_usage(app, "sluice " + app->get_name());
    }
};

void describe_program(CLI::App& program) {
    program.set_version_flag("--version", std::string("sluice ") + SLUICE_VERSION, "Print the version");
    program.set_help_flag("-h,--help", "What there is, and how to call it");
    program.require_subcommand(1);
    // Of a flag given again, as scripts do that add to a command, the last one counts.
    program.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    program.footer(
        "MODEL is a checkpoint directory; left out, the model that comes with Sluice is used.\n"
        "`sluice VERB --help` shows a verb's flags and examples.");
}

int parse_and_run(int argc, char** argv) {
    CLI::App program("Sluice runs Mixture-of-Experts models that do not fit in memory.", "sluice");
    program.formatter(std::make_shared<HelpFormatter>());
    describe_program(program);
    RunVerb chosen;
    for (const Verb& verb : verbs()) {
        CLI::App* app = program.add_subcommand(std::string(verb.name), std::string(verb.summary));
        app->footer("Examples:\n" + std::string(verb.examples));
        RunVerb run_verb = verb.declare(*app);
        app->callback([&chosen, run_verb] { chosen = run_verb; });
    }
    if (argc < 2) {
        fmt::print(stderr, "{}", program.help());
        return kExitUsage;
    }
    const std::string_view word = argv[1];
    if (word.substr(0, 1) != "-" && !is_verb(word)) {
        const std::string near = nearest_verb(word);
        return complain(near.empty() ? fmt::format("there is no verb \"{}\"; `sluice --help` lists them", word)
                                     : fmt::format("there is no verb \"{}\"; did you mean \"{}\"?", word, near),
                        kExitUsage);
    }
    try {
        program.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        const auto parsed = program.get_subcommands();
        Output().write(parsed.empty() ? program.help() : parsed.front()->help());
        return kExitDone;
    } catch (const CLI::CallForVersion& version) {
        Output().write(std::string(version.what()) + "\n");
        return kExitDone;
    } catch (const CLI::ParseError& error) {
        const std::string where = is_verb(word) ? std::string(word) + " " : std::string();
        return complain(fmt::format("{} (`sluice {}--help` shows what it takes)", error.what(), where), kExitUsage);
    }
    chosen();
    return kExitDone;
}

int guarded(int argc, char** argv) {
    try {
        return parse_and_run(argc, argv);
    } catch (const UsageError& error) {
        return complain(error.what(), kExitUsage);
    } catch (const Error& error) {
        return complain(error.what(), kExitFailed);
    } catch (const std::bad_alloc&) {
        return complain("out of memory; give a smaller --ram, --context or --chunk", kExitFailed);
    } catch (const std::exception& error) {
        return complain(error.what(), kExitFailed);
    }
}

}  // namespace

}  // namespace sluice::cli

int main(int argc, char** argv) {
    // A closed stdout shows as a failed write, which ends the work in order instead of killing the process.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);  // `ulimit -f`: the write then fails, as on a full drive
    sluice::set_log_level(sluice::LogLevel::kNormal);
    sluice::cli::watch_for_interrupt();
    return sluice::cli::guarded(argc, argv);
}
