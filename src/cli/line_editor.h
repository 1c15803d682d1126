#pragma once

#include <memory>

#include "cli/line_history.h"
#include "cli/turn_reader.h"

namespace sluice::cli {

// A reader for a terminal: lines are edited as in a shell, earlier ones come back with the arrow keys and with Ctrl-R,
// a paste of several lines is one turn, Alt-Enter begins a line, Ctrl-C takes back what was typed, Ctrl-D ends. Null
// where standard input is no terminal, neither standard error nor output is one to write to, or it cannot move its
// cursor.
std::unique_ptr<TurnReader> line_editor(const LineHistory& history);

}  // namespace sluice::cli
