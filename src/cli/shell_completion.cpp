#include "cli/shell_completion.h"

#include <fmt/core.h>

#include <array>
#include <vector>

#include "cli/flag_words.h"
#include "cli/verb.h"

namespace sluice::cli {

namespace {

constexpr const char* kHelp = "What it takes";

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
    return text;
}

// Text inside single quotes of a shell.
std::string quoted(std::string_view text, std::string_view quote) {
    std::string safe;
    for (const char c : text) {
        if (c == '\'') {
            safe += quote;
        } else {
            safe += c;
        }
    }
    return safe;
}

// What a verb completes: its flags, with --help, which all have.
FlagList flags_of(const Verb& verb) {
    FlagList flags;
    for (Flag& flag : verb.declare().flags) {
        if (!stands_by_place(flag)) flags.push_back(std::move(flag));
    }
    flags.push_back({.names = "--help,-h", .help = kHelp});
    return flags;
}

std::string bash_script() {
    std::string verbs_of, flags, choices;
    for (const Verb& verb : verbs()) {
        verbs_of += (verbs_of.empty() ? "" : " ") + std::string(verb.name);
        std::vector<std::string> words;
        for (const Flag& flag : flags_of(verb)) {
            for (const std::string& word : flag_words(flag)) words.push_back(word);
            const std::vector<std::string> values = flag_choices(flag_words(flag).front());
            if (!values.empty()) {
                choices += fmt::format("        {},{}) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n",
                                       verb.name, flag_words(flag).front(), joined(values));
            }
        }
        flags += fmt::format("        {}) flags='{}' ;;\n", verb.name, joined(words));
    }
    return fmt::format(
        "# Completion of sluice for bash.\n"
        "_sluice() {{\n"
        "    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} flags=\n"
        "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
        "        COMPREPLY=($(compgen -W '{} --help --version' -- \"$word\"))\n"
        "        return\n"
        "    fi\n"
        "    case \"${{COMP_WORDS[1]}},$before\" in\n{}    esac\n"
        "    case \"${{COMP_WORDS[1]}}\" in\n{}    esac\n"
        "    case \"$word\" in -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$word\")) ;; esac\n"
        "}}\n"
        "complete -o default -F _sluice sluice\n",
        verbs_of, choices, flags);
}

std::string zsh_help(const Flag& flag) {
    std::string safe;
    for (const char c : short_help(flag)) {
        if (c == '[' || c == ']' || c == ':') safe += '\\';
        safe += c;
    }
    return quoted(safe, "'\\''");
}

// The lines of _arguments for one flag, a line for each of its words.
std::string zsh_flag(const Flag& flag) {
    std::string value;
    if (!flag.value.empty()) {
        const std::vector<std::string> values = flag_choices(flag_words(flag).front());
        value = values.empty() ? fmt::format(":{}:_files", flag.value)
                               : fmt::format(":{}:({})", flag.value, joined(values));
    }
    std::string lines;
    for (const std::string& word : flag_words(flag)) {
        lines +=
            fmt::format("                '{}{}[{}]{}' \\\n", flag.repeated ? "*" : "", word, zsh_help(flag), value);
    }
    return lines;
}

std::string zsh_script() {
    std::string names, cases;
    for (const Verb& verb : verbs()) {
        names += fmt::format("        '{}:{}'\n", verb.name, quoted(verb.summary, "'\\''"));
        cases += fmt::format("        {})\n            _arguments -s \\\n", verb.name);
        for (const Flag& flag : flags_of(verb)) cases += zsh_flag(flag);
        cases += "                '*:file:_files'\n            ;;\n";
    }
    return fmt::format(
        "#compdef sluice\n"
        "_sluice() {{\n"
        "    local -a names\n"
        "    names=(\n{}    )\n"
        "    if (( CURRENT == 2 )); then\n"
        "        _describe verb names\n"
        "        return\n"
        "    fi\n"
        "    local verb=$words[2]\n"
        "    shift words\n"
        "    (( CURRENT-- ))\n"
        "    case $verb in\n{}    esac\n"
        "}}\n"
        "compdef _sluice sluice\n",
        names, cases);
}

std::string fish_flag(const Verb& verb, const Flag& flag) {
    std::string line = fmt::format("complete -c sluice -n '__fish_seen_subcommand_from {}'", verb.name);
    for (const std::string& word : flag_words(flag)) {
        line += word.substr(0, 2) == "--" ? " -l " + word.substr(2) : " -s " + word.substr(1);
    }
    const std::vector<std::string> values = flag_choices(flag_words(flag).front());
    if (!flag.value.empty()) line += values.empty() ? " -r" : fmt::format(" -x -a '{}'", joined(values));
    return line + fmt::format(" -d '{}'\n", quoted(short_help(flag), "\\'"));
}

std::string fish_script() {
    std::string text = "# Completion of sluice for fish.\n";
    for (const Verb& verb : verbs()) {
        text += fmt::format("complete -c sluice -n __fish_use_subcommand -f -a {} -d '{}'\n", verb.name,
                            quoted(verb.summary, "\\'"));
        for (const Flag& flag : flags_of(verb)) text += fish_flag(verb, flag);
    }
    return text;
}

struct Shell {
    std::string_view name;
    std::string (*script)();
};
constexpr std::array kShells = {Shell{"bash", bash_script}, Shell{"zsh", zsh_script}, Shell{"fish", fish_script}};
constexpr std::array<std::string_view, kShells.size()> kNames = {kShells[0].name, kShells[1].name, kShells[2].name};

}  // namespace

std::span<const std::string_view> completed_shells() {
    return kNames;
}

std::string shell_completion(std::string_view shell) {
    for (const Shell& each : kShells) {
        if (each.name == shell) return each.script();
    }
    return {};
}

}  // namespace sluice::cli
