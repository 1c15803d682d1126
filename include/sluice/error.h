#pragma once

#include <stdexcept>
#include <string>

namespace sluice {

// What went wrong, for a caller that must decide; the text is for the person. The numbers are those of sluice.h.
enum class ErrorCode {
    kUsage = 1,    // the caller's arguments contradict each other or the model
    kNotFound,     // a file, tensor or verb that does not exist
    kInvalidFile,  // a file that is not what it claims to be
    kUnsupported,  // well formed, but not something Sluice runs
    kOutOfMemory,  // does not fit the memory that was allowed
    kIo,           // the operating system refused a read or a write
    kCancelled,    // the caller asked to stop
    kContextFull,  // more tokens than the context holds
};

// The one exception type. The message is one line that names the file, tensor, field or flag, and what would work.
class Error : public std::runtime_error {
  public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
    ErrorCode code() const { return code_; }

  private:
    ErrorCode code_;
};

}  // namespace sluice
