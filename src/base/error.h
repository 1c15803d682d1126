#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

#include "sluice/error.h"

namespace sluice {

[[noreturn]] void fail_with(ErrorCode code, fmt::string_view format, fmt::format_args args);

// Compiled once for all kinds of arguments: what a call adds is their list.
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    fail_with(code, format, fmt::make_format_args(args...));
}

// "No such file or directory (errno 2)", for the errno of the call that just failed.
std::string errno_text(int error_number);

}  // namespace sluice
