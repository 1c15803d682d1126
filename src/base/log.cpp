#include "base/log.h"

#include <fcntl.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <mutex>

namespace sluice {

void set_log_level(LogLevel level) {
    static std::once_flag once;
    std::call_once(once, [] {
        auto logger = std::make_shared<spdlog::logger>("sluice", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        logger->set_pattern("sluice: %v");
        spdlog::set_default_logger(logger);
    });
    switch (level) {
        case LogLevel::kQuiet:
            spdlog::set_level(spdlog::level::err);
            break;
        case LogLevel::kNormal:
            spdlog::set_level(spdlog::level::info);
            break;
        case LogLevel::kVerbose:
            spdlog::set_level(spdlog::level::debug);
            break;
    }
}

void tell_with(fmt::string_view format, fmt::format_args args) noexcept {
    try {
        const std::string text = fmt::vformat(format, args);
        std::fwrite(text.data(), 1, text.size(), stderr);
        std::fflush(stderr);
    } catch (...) {
    }
}

void hold_standard_streams() noexcept {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(stream, F_GETFD) != -1 || errno != EBADF) continue;
        // The lowest number that is free is this one. Results that cannot be written stay an error.
        [[maybe_unused]] const int opened = ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    }
}

void log_with(LogKind kind, fmt::string_view format, fmt::format_args args) noexcept {
    constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info, spdlog::level::warn};
    const spdlog::level::level_enum level = kLevels[static_cast<size_t>(kind)];
    try {
        if (spdlog::should_log(level)) spdlog::log(level, fmt::vformat(format, args));
    } catch (...) {
    }
}

}  // namespace sluice
