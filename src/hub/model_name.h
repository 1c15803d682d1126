#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::hub {

// A model as hubs name it: "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B@main", "unsloth/Qwen3-GGUF/Q4_K_M/part-1.gguf".
struct ModelName {
    std::string repository;  // "ORG/NAME", or "NAME" alone
    std::string revision;    // a branch, a tag or a commit; empty: main
    std::string file;        // in the repository; empty: whatever model it holds
};

// Nothing for a text that is none: a path that is absolute or begins with a dot or a tilde, or a name with characters
// that hubs do not allow.
std::optional<ModelName> read_model_name(std::string_view text);

// Whether a file's name, as a hub gives it, stays inside the folder that it is put into.
bool is_safe_file(std::string_view name);

}  // namespace sluice::hub
