#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "sluice/error.h"

namespace sluice {

template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// "No such file or directory (errno 2)", for the errno of the call that just failed.
std::string errno_text(int error_number);

}  // namespace sluice
