#pragma once

#include "sluice/error.h"

namespace sluice {

// Another machine of the job failed (sluice/launch.h). The message begins with its host and names no file.
class PeerError : public Error {
  public:
    explicit PeerError(const std::string& message) : Error(ErrorCode::kIo, message) {}
};

}  // namespace sluice
