#include "base/error.h"

#include <system_error>

namespace sluice {

std::string errno_text(int error_number) {
    return fmt::format("{} (errno {})", std::generic_category().message(error_number), error_number);
}

}  // namespace sluice
