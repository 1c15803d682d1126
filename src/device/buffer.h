#pragma once

#include <cstdint>
#include <memory>

namespace sluice {

// Memory of a backend. Only the backend that made it can reach its bytes.
class Buffer {
  public:
    virtual ~Buffer() = default;
    virtual uint64_t bytes() const = 0;
};
using BufferPtr = std::shared_ptr<Buffer>;

}  // namespace sluice
