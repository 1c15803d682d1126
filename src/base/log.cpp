#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

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

}  // namespace sluice
