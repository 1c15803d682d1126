#pragma once

#include <filesystem>

namespace sluice {

// Whether a new file may take this name by renaming: nothing is there, or a regular file. A device, a FIFO and a
// symbolic link keep their place, and what is written goes through them.
bool is_replaceable(const std::filesystem::path& path);

// Copies a finished file into what `path` names. Throws kIo.
void write_through(int source, const std::filesystem::path& path);

}  // namespace sluice
