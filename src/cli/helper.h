#pragma once

namespace sluice::cli {

// Of a process that a launcher started beside the one that leads: says nothing from here on, for that one says it, and
// stays until that one or the launcher ends it.
void become_helper();

}  // namespace sluice::cli
