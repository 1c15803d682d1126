#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
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
    std::string stored_name = {};  // as the file spells it; empty: as the entry has it

    const std::string& spelled() const { return stored_name.empty() ? entry.name : stored_name; }
};

inline constexpr std::string_view kGgufLayout = "GGUF";

// What a reader of a publisher's files yields, without a byte of tensor data: all that the catalogue needs. Names are
// in the spelling of safetensors checkpoints, distinct across the files.
struct Published {
    std::filesystem::path source;  // the folder, or the file
    std::string config_text;       // as config.json has it
    std::string config_label;      // where it stands, for messages
    std::vector<CheckpointFile> files;
    std::vector<std::map<std::string, std::string>> metadata;  // per file
    std::vector<StoredTensor> tensors;
    std::string header_digest;                  // of all headers, in order of the files
    std::string layout = {};                    // what `inspect` calls it; empty: as names and shapes tell
    bool norms_as_used = false;                 // no 1 is to be added to any
    std::vector<std::string> passed_over = {};  // weights that stand beside those that were read

    // How the files would spell the name of a tensor that is missing; none: as safetensors do.
    std::function<std::string(std::string_view)> spelling = {};

    // "FILE: tensor NAME", for messages.
    std::string describe(size_t tensor) const;
    std::string spelled(std::string_view name) const { return spelling ? spelling(name) : std::string(name); }
};

// Reads config.json and the headers of model.safetensors.index.json's files, or of model.safetensors, or of all shards
// in the folder. Throws kNotFound for a missing folder or file and kInvalidFile for files that contradict each other or
// the index.
Published read_folder(const std::filesystem::path& folder);

// Reads the header of a GGUF file and of the parts that follow it. Throws kNotFound for a missing part, kInvalidFile
// and kUnsupported, naming file and key or tensor.
Published read_gguf(const std::filesystem::path& first_part);

// Whichever of the two `model` is; see find_gguf_model.
Published read_published(const std::filesystem::path& model);

}  // namespace sluice
