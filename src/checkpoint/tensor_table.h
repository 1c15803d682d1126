#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/safetensors.h"

namespace sluice {

// One tensor of one of the files.
struct StoredTensor {
    SafetensorsEntry entry;
    uint32_t file = 0;
};

// All tensors of a checkpoint's files, names distinct across them.
struct TensorTable {
    std::vector<CheckpointFile> files;
    std::vector<std::map<std::string, std::string>> metadata;  // per file
    std::vector<StoredTensor> tensors;
    std::string header_digest;  // of all headers' text, in order of the files

    // "FILE: tensor NAME", for messages.
    std::string describe(size_t tensor) const;
};

// Reads the headers of model.safetensors.index.json's files, or of model.safetensors, or of all shards in the folder;
// no tensor data. Throws kNotFound for a missing file and kInvalidFile for files that contradict each other or the
// index.
TensorTable read_tensor_table(const std::filesystem::path& folder);

}  // namespace sluice
