#pragma once

namespace sluice::cli {

// Of a process that a launcher started beside the one that leads: goes on in a child, which says nothing, for the one
// that leads says it, and stays until that one or the launcher ends it. If it dies, the launcher gets status 1 and a
// line on stderr.
void become_helper();

}  // namespace sluice::cli
