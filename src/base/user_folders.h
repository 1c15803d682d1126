#pragma once

#include <filesystem>
#include <string>

namespace sluice {

// $XDG_CACHE_HOME, or ~/.cache; empty where there is neither.
std::filesystem::path user_cache();
// The part of it that is Sluice's own; empty where there is none.
std::filesystem::path user_cache_folder();

// "~/x" as the shell would have it; any other text stays as it is.
std::filesystem::path expand_home(const std::string& path);

}  // namespace sluice
