#pragma once

#include <string_view>

namespace sluice::server {

// Tells systemd, where it started this process and asked to be told ($NOTIFY_SOCKET): "READY=1".
void notify_service_manager(std::string_view state) noexcept;

}  // namespace sluice::server
