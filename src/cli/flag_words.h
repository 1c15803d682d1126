#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/flag.h"

namespace sluice::cli {

// "--file" and "-f" of "--file,-f"; "MODEL" of what stands at its place.
std::vector<std::string> flag_words(const Flag& flag);
bool stands_by_place(const Flag& flag);

// What a flag of an option table may be, by its name; empty where it is no choice, or no such flag.
std::vector<std::string> flag_choices(std::string_view name);

// The first sentence of a flag's help: up to "; default" or ": auto, on".
std::string short_help(const Flag& flag);

}  // namespace sluice::cli
