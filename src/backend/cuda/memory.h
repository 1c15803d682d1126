#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/device_pages.h"
#include "device/event.h"
#include "device/host_buffer.h"
#include "device/slot_memory.h"

namespace sluice::cuda {

// Zeroed memory of the device, behind what its queue was handed so far. Throws kOutOfMemory.
BufferPtr allocate(const std::shared_ptr<Device>& device, uint64_t bytes);

// What a queue was handed before the event was made; so many downloads of the backend were among it and before.
class QueueEvent final : public Event {
  public:
    QueueEvent(std::shared_ptr<Device> device, cudaStream_t stream, uint64_t downloads = 0);
    QueueEvent(const QueueEvent&) = delete;
    ~QueueEvent() override;
    bool done() const override;
    void wait() override;
    cudaEvent_t get() const { return event_; }
    uint64_t downloads() const { return downloads_; }

  private:
    std::shared_ptr<Device> device_;
    cudaEvent_t event_ = nullptr;
    uint64_t downloads_;
};

// Expert slots in the device's memory. Records land in a ring of pinned memory and are copied by a queue of their own.
class DeviceSlots final : public SlotMemory {
  public:
    DeviceSlots(std::shared_ptr<Device> device, size_t slots, size_t slot_bytes);
    ~DeviceSlots() override;

    size_t slots() const override { return buffers_.size(); }
    size_t slot_bytes() const override { return slot_bytes_; }
    size_t landings() const override { return landings_; }
    std::byte* land_at(size_t landing, size_t slot) override;
    EventPtr landed(size_t landing, size_t slot) override { return fill(slot, land_at(landing, slot)); }
    EventPtr fill(size_t slot, const std::byte* record) override;
    void after(const EventPtr& event) override;
    EventPtr save(size_t slot, std::byte* record) override;
    void discard(size_t slot) override;
    bool shrinks_at_end() const override { return true; }
    bool restore(size_t slot) override { return pages_->begin_use(slot * slot_bytes_, slot_bytes_); }
    BufferPtr buffer(size_t slot) const override { return buffers_[slot]; }
    BufferPtr whole() const override { return whole_; }

  private:
    std::shared_ptr<Device> device_;
    std::shared_ptr<DevicePages> pages_;
    size_t slot_bytes_, landings_;
    std::byte* pinned_ = nullptr;
    std::vector<BufferPtr> buffers_;
    std::vector<std::shared_ptr<QueueEvent>> filled_;  // [slots]: the last record; of a slot by the thread that has it
    BufferPtr whole_;
};

// Slots in the host's memory that the device copies from. Each is held in place from its first record on until it is
// discarded, so that memory nobody uses is the system's.
class PinnedSlots final : public SlotMemory {
  public:
    PinnedSlots(std::shared_ptr<Device> device, size_t slots, size_t slot_bytes);
    ~PinnedSlots() override;

    size_t slots() const override { return memory_.slots(); }
    size_t slot_bytes() const override { return memory_.slot_bytes(); }
    size_t landings() const override { return memory_.landings(); }
    std::byte* land_at(size_t landing, size_t slot) override;
    EventPtr landed(size_t landing, size_t slot) override { return memory_.landed(landing, slot); }
    EventPtr fill(size_t slot, const std::byte* record) override { return memory_.fill(slot, record); }
    EventPtr save(size_t slot, std::byte* record) override { return memory_.save(slot, record); }
    void discard(size_t slot) override;
    bool reached(size_t slot) const override { return held_[slot] == Held::kInPlace; }
    BufferPtr buffer(size_t slot) const override { return memory_.buffer(slot); }
    BufferPtr whole() const override { return memory_.whole(); }

  private:
    enum class Held : uint8_t { kNot, kInPlace, kRefused };

    std::shared_ptr<Device> device_;
    HostSlots memory_;
    std::vector<Held> held_;  // [slots]: of a slot only by the thread that fills or discards it
};

}  // namespace sluice::cuda
