#include "base/user_folders.h"

#include <cstdlib>

namespace sluice {

namespace fs = std::filesystem;

namespace {

// A relative path there is to be ignored, says the specification of these folders.
fs::path absolute_of(const char* variable) {
    const char* const value = std::getenv(variable);
    return value != nullptr && *value == '/' ? fs::path(value) : fs::path();
}

}  // namespace

fs::path user_cache() {
    const fs::path cache = absolute_of("XDG_CACHE_HOME");
    if (!cache.empty()) return cache;
    const fs::path home = absolute_of("HOME");
    return home.empty() ? fs::path() : home / ".cache";
}

fs::path user_cache_folder() {
    const fs::path cache = user_cache();
    return cache.empty() ? fs::path() : cache / "sluice";
}

fs::path expand_home(const std::string& path) {
    const fs::path home = absolute_of("HOME");
    if (home.empty() || (path != "~" && path.rfind("~/", 0) != 0)) return path;
    return path.size() <= 2 ? home : home / path.substr(2);
}

}  // namespace sluice
