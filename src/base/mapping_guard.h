#pragma once

#include <cstddef>

namespace sluice {

// Watches a read-only mapping of a file while it lives. A page that cannot be had, because the file was cut or its
// drive failed, would end the process with SIGBUS: it and what follows it read as zeros instead, and the mapping counts
// as torn. The handler of SIGBUS is set by the first guard and passes on what concerns no guard.
class MappingGuard {
  public:
    MappingGuard(const std::byte* data, size_t bytes);
    ~MappingGuard();
    MappingGuard(const MappingGuard&) = delete;
    MappingGuard& operator=(const MappingGuard&) = delete;

    bool torn() const;
    // The mapping has been made anew in its place.
    void mended();

  private:
    friend struct BusErrors;
    struct Area;
    Area* area_;
};

}  // namespace sluice
