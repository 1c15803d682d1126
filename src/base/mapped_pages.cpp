#include "base/mapped_pages.h"

#include <sys/mman.h>

#include <memory>

#include "base/memory.h"

namespace sluice {

void let_go(std::span<const std::byte> mapped) {
    void* first = const_cast<std::byte*>(mapped.data());
    size_t bytes = mapped.size();
    if (std::align(kPageBytes, kPageBytes, first, bytes) == nullptr) return;
    ::madvise(first, bytes / kPageBytes * kPageBytes, MADV_DONTNEED);
}

}  // namespace sluice
