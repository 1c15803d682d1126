#pragma once

#include <optional>

#include "cli/verb.h"

namespace sluice::cli {

// What was asked for, or the status to end with where that is said already (help, the version, wrong usage).
struct Parsed {
    RunVerb run;  // see Command
    int status = kExitDone;
    RunVerb help = {};
};
Parsed parse_command_line(int argc, char** argv);

// One line on stderr, whatever the message holds, with flags for the fields it names. Returns `status`.
int complain(std::string message, int status);

}  // namespace sluice::cli
