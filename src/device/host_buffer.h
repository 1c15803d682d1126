#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/memory.h"
#include "device/buffer.h"
#include "device/slot_memory.h"

namespace sluice {

// Memory of this process: what the backends that compute on the host use as theirs.
class HostBuffer final : public Buffer {
  public:
    // Page-aligned, zeroed memory of its own. Throws kOutOfMemory.
    static BufferPtr allocate(uint64_t bytes, PageUse use = PageUse::kWhole);
    // Somebody's bytes in place, kept alive through `owner`; for reading only.
    static BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

    HostBuffer(std::byte* data, uint64_t bytes, bool writable, std::shared_ptr<const void> owner)
        : data_(data), bytes_(bytes), writable_(writable), owner_(std::move(owner)) {}

    uint64_t bytes() const override { return bytes_; }
    Space space() const override { return Space::kHost; }
    std::byte* data() const { return data_; }
    bool writable() const { return writable_; }

  private:
    std::byte* data_;
    uint64_t bytes_;
    bool writable_;
    std::shared_ptr<const void> owner_;
};

// Expert slots in host memory: a slot is its own landing area, so records land where they are read.
class HostSlots final : public SlotMemory {
  public:
    // Throws kUsage when slot_bytes is not a multiple of the page, kOutOfMemory when the system refuses.
    HostSlots(size_t slots, size_t slot_bytes);

    size_t slots() const override { return buffers_.size(); }
    size_t slot_bytes() const override { return slot_bytes_; }
    size_t landings() const override { return buffers_.size(); }
    std::byte* land_at(size_t, size_t slot) override { return memory_->data() + slot * slot_bytes_; }
    EventPtr landed(size_t, size_t) override { return nullptr; }
    EventPtr fill(size_t slot, const std::byte* record) override;
    EventPtr save(size_t slot, std::byte* record) override;
    void discard(size_t slot) override { memory_->release(slot * slot_bytes_, slot_bytes_); }
    BufferPtr buffer(size_t slot) const override { return buffers_[slot]; }
    BufferPtr whole() const override { return whole_; }

  private:
    std::shared_ptr<PageMemory> memory_;
    size_t slot_bytes_;
    std::vector<BufferPtr> buffers_;
    BufferPtr whole_;
};

// The buffer as one of host memory. Throws kUsage for a buffer of another device.
const HostBuffer& host_buffer(const BufferPtr& buffer);
// The same for writing. Throws kUsage for adopted memory, too.
const HostBuffer& writable_host_buffer(const BufferPtr& buffer);

// The bytes of a host buffer. Throw kUsage for a buffer of another backend, and for adopted memory where it is written.
std::span<const std::byte> host_bytes(const BufferPtr& buffer);
std::span<std::byte> writable_host_bytes(const BufferPtr& buffer);

}  // namespace sluice
