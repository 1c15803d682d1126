#include "device/host_buffer.h"

#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/size.h"

namespace sluice {

const HostBuffer& host_buffer(const BufferPtr& buffer) {
    const auto* host = dynamic_cast<const HostBuffer*>(buffer.get());
    if (host == nullptr) {
        fail(ErrorCode::kUsage,
             "a buffer is missing or belongs to another backend: use buffers of the backend that runs "
             "the operation");
    }
    return *host;
}

const HostBuffer& writable_host_buffer(const BufferPtr& buffer) {
    const HostBuffer& host = host_buffer(buffer);
    if (!host.writable()) {
        fail(ErrorCode::kUsage, "an adopted buffer is read-only: write to a buffer made by allocate()");
    }
    return host;
}

BufferPtr HostBuffer::allocate(uint64_t bytes, PageUse use) {
    if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail(ErrorCode::kOutOfMemory, "no memory holds {} bytes: ask for less", bytes);
    }
    auto memory = std::make_shared<PageMemory>(static_cast<size_t>(bytes), use);
    std::byte* data = memory->data();
    return std::make_shared<HostBuffer>(data, bytes, true, std::move(memory));
}

BufferPtr HostBuffer::adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
    // Never written through: writable_host_buffer() refuses it.
    return std::make_shared<HostBuffer>(const_cast<std::byte*>(bytes.data()), bytes.size(), false, std::move(owner));
}

void check_slot_sizes(size_t slots, size_t slot_bytes) {
    if (slot_bytes == 0 || slot_bytes % kPageBytes != 0) {
        fail(ErrorCode::kUsage, "expert slots of {} bytes: the size must be a positive multiple of {}", slot_bytes,
             kPageBytes);
    }
    if (slots > std::numeric_limits<int64_t>::max() / slot_bytes) {
        fail(ErrorCode::kOutOfMemory, "{} expert slots of {} fit no memory: ask for fewer", slots,
             format_size(slot_bytes));
    }
}

HostSlots::HostSlots(size_t slots, size_t slot_bytes) : slot_bytes_(slot_bytes) {
    check_slot_sizes(slots, slot_bytes);
    memory_ = std::make_shared<PageMemory>(slots * slot_bytes);
    whole_ = std::make_shared<HostBuffer>(memory_->data(), slots * slot_bytes, true, memory_);
    buffers_.reserve(slots);
    for (size_t slot = 0; slot < slots; ++slot) {
        buffers_.push_back(std::make_shared<HostBuffer>(land_at(slot, slot), slot_bytes, true, memory_));
    }
}

EventPtr HostSlots::fill(size_t slot, const std::byte* record) {
    std::memcpy(land_at(slot, slot), record, slot_bytes_);
    return nullptr;
}

EventPtr HostSlots::save(size_t slot, std::byte* record) {
    std::memcpy(record, land_at(slot, slot), slot_bytes_);
    return nullptr;
}

std::span<const std::byte> host_bytes(const BufferPtr& buffer) {
    const HostBuffer& host = host_buffer(buffer);
    return {host.data(), static_cast<size_t>(host.bytes())};
}

std::span<std::byte> writable_host_bytes(const BufferPtr& buffer) {
    const HostBuffer& host = writable_host_buffer(buffer);
    return {host.data(), static_cast<size_t>(host.bytes())};
}

}  // namespace sluice
