#include "cli/manual_page.h"

#include <fmt/core.h>

#include "cli/flag_words.h"

namespace sluice::cli {

namespace {

// Text as roff prints it: dashes that can be copied, no line that begins a request.
std::string roff(std::string_view text) {
    std::string safe;
    bool at_begin = true;
    for (const char c : text) {
        if (at_begin && (c == '.' || c == '\'')) safe += "\\&";
        if (c == '\\') {
            safe += "\\e";
        } else if (c == '-') {
            safe += "\\-";
        } else {
            safe += c;
        }
        at_begin = c == '\n';
    }
    return safe;
}

std::string upper(std::string text) {
    for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    return text;
}

std::string title(const std::string& name, std::string_view summary) {
    return fmt::format(".TH {} 1 \"\" \"Sluice {}\" \"Sluice\"\n.SH NAME\n{} \\- {}\n", roff(upper(name)),
                       SLUICE_VERSION, roff(name), roff(summary));
}

std::string examples_of(const Verb& verb) {
    return fmt::format(".nf\n{}.fi\n", roff(verb.examples));
}

std::string item(const Flag& flag) {
    std::string words;
    for (const std::string& word : flag_words(flag)) {
        words += fmt::format("{}\\fB{}\\fR", words.empty() ? "" : ", ", roff(word));
    }
    if (!flag.value.empty()) words += fmt::format(" \\fI{}\\fR", roff(flag.value));
    return fmt::format(".TP\n{}\n{}{}\n", words, roff(flag.help), flag.repeated ? " (may be repeated)" : "");
}

// Flags under the headings that --help has, those without one first.
std::string options_of(const FlagList& flags) {
    std::vector<std::string> groups;
    for (const Flag& flag : flags) {
        bool known = false;
        for (const std::string& group : groups) known = known || group == flag.group;
        if (!known) groups.insert(flag.group.empty() ? groups.begin() : groups.end(), flag.group);
    }
    std::string text;
    for (const std::string& group : groups) {
        text += group.empty() ? std::string(".SH OPTIONS\n") : fmt::format(".SS \"{}\"\n", roff(group));
        for (const Flag& flag : flags) {
            if (flag.group == group) text += item(flag);
        }
    }
    return text;
}

std::string synopsis(const Verb& verb, const FlagList& flags) {
    std::string line = fmt::format(".SH SYNOPSIS\n\\fBsluice {}\\fR [flags]", roff(verb.name));
    for (const Flag& flag : flags) {
        if (!stands_by_place(flag)) continue;
        line += flag.required ? fmt::format(" \\fI{}\\fR", flag.names) : fmt::format(" [\\fI{}\\fR]", flag.names);
    }
    return line + "\n";
}

constexpr const char* kStatus =
    ".SH EXIT STATUS\n0: done. 1: the request failed; a line on standard error says why. 2: wrong usage. 130: "
    "interrupted.\n";

}  // namespace

std::string manual_of(const Verb& verb) {
    const FlagList flags = verb.declare().flags;
    return title("sluice-" + std::string(verb.name), verb.summary) + synopsis(verb, flags) + options_of(flags) +
           ".SH EXAMPLES\n" + examples_of(verb) + kStatus + ".SH SEE ALSO\n\\fBsluice\\fR(1)\n";
}

std::string manual_of_program() {
    std::string text = title("sluice", "runs Mixture-of-Experts models that do not fit in memory") +
                       ".SH SYNOPSIS\n\\fBsluice\\fR \\fIVERB\\fR [\\fIMODEL\\fR] [flags]\n.SH VERBS\n";
    for (const Verb& verb : verbs()) {
        text += fmt::format(".TP\n\\fBsluice\\-{}\\fR(1)\n{}\n", roff(verb.name), roff(verb.summary));
    }
    text += ".SH EXAMPLES\n";
    for (const Verb& verb : verbs()) text += examples_of(verb);
    return text + kStatus;
}

}  // namespace sluice::cli
