#include "cli/flag_words.h"

#include <algorithm>

namespace sluice::cli {

namespace {

std::vector<std::string> split(std::string_view text, std::string_view between) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        const size_t end = std::min(text.find(between), text.size());
        parts.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + between.size(), text.size()));
    }
    return parts;
}

template <typename Options, size_t kCount>
void add_choices(const Option<Options> (&options)[kCount], std::string_view name, std::vector<std::string>& choices) {
    for (const Option<Options>& option : options) {
        if (!choices.empty() || flag_name(option) != name) continue;
        choices = split(choices_text(option), ", ");
    }
}

}  // namespace

std::vector<std::string> flag_words(const Flag& flag) {
    return split(flag.names, ",");
}

bool stands_by_place(const Flag& flag) {
    return flag.names.substr(0, 1) != "-";
}

std::vector<std::string> flag_choices(std::string_view name) {
    std::vector<std::string> choices;
    add_choices(kEngineOptions, name, choices);
    add_choices(kSamplingOptions, name, choices);
    add_choices(kGenerationOptions, name, choices);
    add_choices(kPackOptions, name, choices);
    return choices;
}

std::string short_help(const Flag& flag) {
    const size_t end = std::min(flag.help.find("; "), flag.help.find(": "));
    return flag.help.substr(0, end);
}

}  // namespace sluice::cli
