#pragma once

#include <fmt/core.h>

namespace sluice {

enum class LogLevel { kQuiet, kNormal, kVerbose };

// The process's one log, to stderr, so that stdout carries results alone. Thread-safe, and never throws: a log that
// cannot be written is no reason to stop.
void set_log_level(LogLevel level);

// Text for whoever sits at the terminal, to stderr as it stands. Never throws: what cannot be written is lost.
void tell_with(fmt::string_view format, fmt::format_args args) noexcept;

template <typename... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) noexcept {
    tell_with(format, fmt::make_format_args(args...));
}

// Standard streams that were closed when the process began lead to /dev/null from now on, so that no file that is
// opened later takes the number of one and gets the messages.
void hold_standard_streams() noexcept;

enum class LogKind { kDebug, kInfo, kWarning };
void log_with(LogKind kind, fmt::string_view format, fmt::format_args args) noexcept;

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
    log_with(LogKind::kDebug, format, fmt::make_format_args(args...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
    log_with(LogKind::kInfo, format, fmt::make_format_args(args...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
    log_with(LogKind::kWarning, format, fmt::make_format_args(args...));
}

}  // namespace sluice
