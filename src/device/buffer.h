#pragma once

#include <cstdint>
#include <memory>

namespace sluice {

// Where bytes lie: memory of the process, the same held in place so that a device can copy it while the host goes on,
// or memory of a device.
enum class Space : uint8_t { kHost, kPinned, kDevice };

// Memory of a backend. Only the backend that made it can reach its bytes.
class Buffer {
  public:
    virtual ~Buffer() = default;
    virtual uint64_t bytes() const = 0;
    virtual Space space() const = 0;
};
using BufferPtr = std::shared_ptr<Buffer>;

// A part of a buffer.
struct Region {
    BufferPtr buffer;
    uint64_t offset = 0;
    uint64_t bytes = 0;
};

}  // namespace sluice
