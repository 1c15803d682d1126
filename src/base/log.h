#pragma once

#include <spdlog/spdlog.h>

namespace sluice {

enum class LogLevel { kQuiet, kNormal, kVerbose };

// The process's one log, to stderr, so that stdout carries results alone. Thread-safe.
void set_log_level(LogLevel level);

// Use spdlog::debug / info / warn directly; the first call of set_log_level sends them to stderr.

}  // namespace sluice
