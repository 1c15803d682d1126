#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hub/model_name.h"

namespace sluice::hub {

namespace fs = std::filesystem;

// Where downloads are kept, as other programs do: $HF_HUB_CACHE, else `hub` in $HF_HOME, else huggingface/hub in the
// user's cache folder; empty where there is neither.
fs::path cache_folder();

// "models--ORG--NAME": a repository's folder in the cache, with `blobs`, `refs` and `snapshots`.
std::string cache_entry(const std::string& repository);

// What to open: a folder that is a checkpoint, or a GGUF file.
struct LocalModel {
    std::string name;  // by which find_model() finds it
    fs::path path;
};

// The model called `name`, searched in each of `folders` (as a folder or a file of that name, or in the cache's layout)
// and then in the cache. Throws kNotFound, saying where it was searched, and kUsage for a name that several models
// have.
fs::path find_model(const ModelName& name, const std::vector<fs::path>& folders);

// Every model in `folders` and in the cache, in the order of the names. What cannot be read is left out.
std::vector<LocalModel> list_models(const std::vector<fs::path>& folders);

// The GGUF models of a folder, two levels deep: of those in parts the first part; what only looks at images is left
// out. Names are relative to the folder, in order.
std::vector<std::string> gguf_models(const fs::path& folder);

// Of names of files that are parts of GGUF models, those that are models by themselves or the first part of one.
bool begins_gguf_model(const std::string& file);

}  // namespace sluice::hub
