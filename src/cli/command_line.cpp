#include "cli/command_line.h"

#include <fmt/core.h>

// The only file that reads this header: it costs seconds.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "base/log.h"
#include "cli/output.h"

namespace sluice::cli {

namespace {

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
        "MODEL is a checkpoint directory, a GGUF file or the name of a downloaded model; left out, the model that "
        "comes\n"
        "with Sluice is used.\n"
        "`sluice VERB --help` shows a verb's flags and examples.");
}

// "--file" of "--file,-f".
std::string first_name(const std::string& names) {
    return names.substr(0, names.find(','));
}

void take(const Flag& flag, const std::string& text) {
    const std::string problem = flag.take(text);
    if (!problem.empty()) throw CLI::ValidationError(first_name(flag.names), problem);
}

void add_flag(CLI::App& app, const Flag& flag) {
    const bool by_place = flag.names.substr(0, 1) != "-";
    CLI::Option* option = nullptr;
    if (!by_place && flag.value.empty()) {
        option = app.add_flag_callback(
            flag.names, [flag] { take(flag, {}); }, flag.help);
    } else if (flag.repeated) {
        const auto take_all = [flag](const std::vector<std::string>& texts) {
            for (const std::string& text : texts) take(flag, text);
        };
        option = app.add_option_function<std::vector<std::string>>(flag.names, take_all, flag.help)
                     ->take_all()
                     ->allow_extra_args(false);
    } else {
        option = app.add_option_function<std::string>(
            flag.names, [flag](const std::string& text) { take(flag, text); }, flag.help);
    }
    if (by_place || !flag.value.empty()) option->type_name(flag.value);
    if (!flag.group.empty()) option->group(flag.group);
    option->required(flag.required);
}

void add_flags(CLI::App& app, const FlagList& flags) {
    for (const Flag& flag : flags) add_flag(app, flag);
    for (const Flag& flag : flags) {
        if (!flag.excludes.empty())
            app.get_option(first_name(flag.names))->excludes(app.get_option(first_name(flag.excludes)));
    }
}

bool is_verb(std::string_view word) {
    const auto all = verbs();
    return std::any_of(all.begin(), all.end(), [&](const Verb& verb) { return verb.name == word; });
}

int no_such_verb(std::string_view word) {
    const std::string near = nearest_verb(word);
    return complain(near.empty() ? fmt::format("there is no verb \"{}\"; `sluice --help` lists them", word)
                                 : fmt::format("there is no verb \"{}\"; did you mean \"{}\"?", word, near),
                    kExitUsage);
}

}  // namespace

int complain(std::string message, int status) {
    message = with_flags(message);
    std::replace(message.begin(), message.end(), '\n', ' ');
    while (!message.empty() && message.back() == ' ') message.pop_back();
    tell("sluice: {}\n", message);
    return status;
}

Parsed parse_command_line(int argc, char** argv) {
    CLI::App program("Sluice runs Mixture-of-Experts models that do not fit in memory.", "sluice");
    program.formatter(std::make_shared<HelpFormatter>());
    describe_program(program);
    Parsed parsed;
    for (const Verb& verb : verbs()) {
        CLI::App* app = program.add_subcommand(std::string(verb.name), std::string(verb.summary));
        app->footer("Examples:\n" + std::string(verb.examples));
        const Command command = verb.declare();
        add_flags(*app, command.flags);
        app->callback([&parsed, command] {
            parsed.run = command.run;
            parsed.help = command.help;
        });
    }
    if (argc < 2) {
        tell("{}", program.help());
        return {.run = {}, .status = kExitUsage};
    }
    const std::string_view word = argv[1];
    if (word.substr(0, 1) != "-" && !is_verb(word)) return {.run = {}, .status = no_such_verb(word)};
    try {
        program.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        const auto verb = program.get_subcommands();
        Output().write(verb.empty() ? program.help() : verb.front()->help());
        return {};
    } catch (const CLI::CallForVersion& version) {
        Output().write(std::string(version.what()) + "\n");
        return {};
    } catch (const CLI::ParseError& error) {
        const std::string where = is_verb(word) ? std::string(word) + " " : std::string();
        const std::string help = fmt::format("{} (`sluice {}--help` shows what it takes)", error.what(), where);
        return {.run = {}, .status = complain(help, kExitUsage)};
    }
    return parsed;
}

}  // namespace sluice::cli
