#pragma once

#include <string>

#include "cli/verb.h"

namespace sluice::cli {

// Manual pages in the language of man(7), from the tables of verbs and options.
std::string manual_of_program();
std::string manual_of(const Verb& verb);

}  // namespace sluice::cli
