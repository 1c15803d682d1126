#include "tests/support/source_file.h"

namespace sluice::testing {

std::string source_file(const std::string& path) {
    return SLUICE_SOURCE_DIR + path;
}

}  // namespace sluice::testing
