#include "base/error.h"

#include <system_error>

namespace sluice {

void fail_with(ErrorCode code, fmt::string_view format, fmt::format_args args) {
    throw Error(code, fmt::vformat(format, args));
}

std::string errno_text(int error_number) {
    return fmt::format("{} (errno {})", std::generic_category().message(error_number), error_number);
}

}  // namespace sluice
