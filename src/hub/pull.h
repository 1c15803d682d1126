#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "hub/model_name.h"
#include "sluice/bytes_callback.h"

namespace sluice::hub {

struct PullOptions {
    std::string endpoint;          // of the hub
    std::string token;             // for models that ask for one; empty: none
    ModelName model;               // its `file` may be a pattern
    std::filesystem::path folder;  // where the model gets a folder of its own; empty: cache_folder()
};

struct PullReport {
    std::filesystem::path folder;  // that holds the files under their names
    uint64_t files = 0, bytes = 0;
    uint64_t files_there = 0;    // of `files`, those that were there before
    uint64_t bytes_resumed = 0;  // of `bytes`, what earlier, interrupted runs had left
    uint64_t unchecked = 0;      // of `files`, those of which the hub says no checksum
};

// Downloads a model, or one file of it. A file appears under its name only when it is whole and its checksum holds; an
// interrupted one goes on where it stopped. `progress` counts the bytes of all files and may cancel. Throws Error.
PullReport pull(const PullOptions& options, const BytesCallback& progress);

}  // namespace sluice::hub
