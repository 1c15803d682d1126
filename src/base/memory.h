#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace sluice {

inline constexpr size_t kPageBytes = 4096;  // alignment of direct I/O, and of every expert record

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// How memory is used: all of it soon, or a part now and then, which then takes no more physical memory than that part.
enum class PageUse : uint8_t { kWhole, kSparse };

// Page-aligned memory straight from the system, zeroed, given back whole; large ones in huge pages unless they are used
// sparsely, spread over the memory nodes. Throws kOutOfMemory.
class PageMemory {
  public:
    PageMemory() = default;
    explicit PageMemory(size_t wanted, PageUse use = PageUse::kWhole);  // bytes
    PageMemory(PageMemory&& other) noexcept;
    PageMemory& operator=(PageMemory&& other) noexcept;
    ~PageMemory();

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }
    std::span<std::byte> bytes() const { return {data_, size_}; }
    // Gives the physical pages of a page-aligned part back; it reads as zeros when touched again.
    void release(size_t offset, size_t bytes) const;

  private:
    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

// Zeroes these bytes of a PageMemory by giving their whole pages back to the system.
void clear_memory(std::span<std::byte> bytes);

// Peak and current resident memory of this process, bytes.
uint64_t peak_resident_bytes();
uint64_t resident_bytes();
// Of it, what belongs to this process alone: without pages of files, of which the kernel maps more or fewer.
uint64_t private_resident_bytes();

// What this process may still take without pushing the machine into swap or the cgroup into its limit: the smaller of
// MemAvailable and the headroom of every enclosing cgroup (v1 and v2; reclaimable page cache counts as free, but not
// the mapped files that this process works with).
uint64_t available_memory_bytes();

// Seconds, since the machine or the cgroup was started, in which a task waited for memory: the larger of the system's
// and the cgroup's pressure stall information. Nothing where the kernel keeps none.
std::optional<double> memory_stall_seconds();

// Keeps the pages of these bytes in memory. Returns why not; empty when it did.
std::string lock_memory(std::span<const std::byte> bytes);

// The tightest memory limit of the enclosing cgroups, if there is one.
std::optional<uint64_t> cgroup_memory_limit_bytes();

}  // namespace sluice
