#pragma once

#include <filesystem>

#include "sluice/options.h"

namespace sluice {

// How this process was started: by itself, or by a launcher such as mpirun as one of several that work together. The
// one of rank 0 leads. Read from the environment; nothing is connected.
struct Launch {
    int rank = 0;
    int size = 1;

    bool with_others() const { return size > 1; }
};
Launch launched();

// What a process of another rank than 0 does: holds a part of the experts of its copy of the model and computes them,
// until the engine of rank 0 ends (EngineOptions::peers). Throws Error.
void work_for_leader(const std::filesystem::path& model, const EngineOptions& options);

}  // namespace sluice
