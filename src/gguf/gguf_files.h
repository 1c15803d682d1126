#pragma once

// Which files are meant where a user names a model.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "gguf/gguf_header.h"

namespace sluice {

// A mapped file with its header.
struct GgufFile {
    std::shared_ptr<const MappedFile> mapping;
    GgufHeader header;  // points into the mapping

    static GgufFile open(const std::filesystem::path& path);  // throws as MappedFile and GgufHeader do
};

// The GGUF file of weights that `model` means: a file of that extension, or that begins as one (of a split model its
// first part, whichever is named), or the one in a folder that is no checkpoint in safetensors. Nothing for another
// model. Throws kUsage where a folder holds several.
std::optional<std::filesystem::path> find_gguf_model(const std::filesystem::path& model);

// The GGUF file that holds the model's tokenizer, chat template and defaults of sampling: that of the weights, or what
// packing put beside safetensors. Nothing for another model. Throws as find_gguf_model.
std::optional<std::filesystem::path> find_gguf_text(const std::filesystem::path& model);

// Under which name packing puts a tokenizer beside safetensors: metadata without tensors.
inline constexpr std::string_view kGgufTokenizerName = "tokenizer.gguf";

// Part `part` of `count`, from 1, of the split model that begins with `first`; nothing unless the name of `first` is
// that of part 1 of a split model.
std::optional<std::filesystem::path> gguf_part(const std::filesystem::path& first, uint64_t part, uint64_t count);

// Whether a part of the split model that begins with `first` is not there. Throws as GgufFile::open.
bool gguf_parts_missing(const std::filesystem::path& first);

}  // namespace sluice
