#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/option_table.h"

namespace sluice::cli {

// A flag as a value. Verbs list theirs; command_line.cpp parses them and prints the help.
struct Flag {
    std::string names = {};  // "--file,-f"; what stands at its place alone has no dashes: "MODEL"
    std::string help = {};
    std::string value = {};  // what the help calls the flag's value; of a flag without one, empty
    std::function<std::string(const std::string& text)> take = {};  // returns what is wrong with the text, or nothing
    std::string group = {};                                         // its heading in the help
    std::string excludes = {};                                      // a flag that cannot be given with it
    bool required = false;
    bool repeated = false;  // every one given counts, not the last
};
using FlagList = std::vector<Flag>;

// What is stored must outlive the flag.
Flag switch_flag(std::string names, bool& on, std::string help);
Flag text_flag(std::string names, std::string& text, std::string help, std::string value);
Flag count_flag(std::string names, int64_t& count, std::string help, int64_t low, int64_t high);
Flag number_flag(std::string names, double& number, std::string help, double low, double high);
// Bytes, or a number with K, M, G or T.
Flag size_flag(std::string names, uint64_t& bytes, std::string help);
// What stands at its place without a flag's name; empty is refused.
Flag argument(std::string name, std::string& text, std::string help, bool required = false);

// "--prefix-cache-size", "--threads".
template <typename Options>
std::string flag_name(const Option<Options>& option) {
    std::string name = "--";
    for (const char c : option.flag.empty() ? option.name : option.flag) name += c == '_' ? '-' : c;
    return name;
}

namespace flag_detail {
Flag option_flag(std::string name, char letter, std::string_view help, std::string_view choices,
                 std::string_view otherwise);
}

// The flag of a row of an option table. `show_default`: the help says what holds without it.
template <typename Options>
Flag option_flag(const Option<Options>& option, Options& options, bool show_default = true) {
    const std::string otherwise(!option.otherwise.empty() ? std::string(option.otherwise)
                                : show_default            ? value_text(option, options)
                                                          : std::string());
    Flag flag =
        flag_detail::option_flag(flag_name(option), option.letter, option.help, choices_text(option), otherwise);
    if (!std::holds_alternative<bool Options::*>(option.field)) flag.value = option.value;
    flag.take = [&option, &options](const std::string& text) { return assign(option, options, text); };
    return flag;
}

// In a message, fields in backquotes become flags: "`ram_bytes` 90M would do" is "--ram 90M would do".
std::string with_flags(std::string_view message);

}  // namespace sluice::cli
