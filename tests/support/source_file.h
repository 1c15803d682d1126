#pragma once

#include <string>

namespace sluice::testing {

// A file or folder of the source tree; `path` starts with a slash.
std::string source_file(const std::string& path);

}  // namespace sluice::testing
