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
    // Of a container that stores matrices in blocks of a codec: the shape is then that of the values, and the dtype
    // says nothing. Null: elements of the dtype.
    const Codec* codec = nullptr;
};

// What a reader of a publisher's files yields, without a byte of tensor data: all that the catalogue needs. Names are
// in the spelling of safetensors checkpoints, distinct across the files.
struct Published {
    std::filesystem::path source;  // the folder, or the file
    std::string config_text;       // as config.json has it
    std::string config_label;      // where it stands, for messages
    std::vector<CheckpointFile> files;
    std::vector<std::map<std::string, std::string>> metadata;  // per file
    std::vector<StoredTensor> tensors;
    std::string header_digest;  // of all headers, in order of the files

    // "FILE: tensor NAME", for messages.
    std::string describe(size_t tensor) const;
};

// Reads config.json and the headers of model.safetensors.index.json's files, or of model.safetensors, or of all shards
// in the folder. Throws kNotFound for a missing folder or file and kInvalidFile for files that contradict each other or
// the index.
Published read_folder(const std::filesystem::path& folder);

}  // namespace sluice
