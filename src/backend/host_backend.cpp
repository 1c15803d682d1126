#include "backend/host_backend.h"

#include <cstring>

#include "backend/checks.h"
#include "base/memory.h"
#include "device/host_buffer.h"

namespace sluice {

BufferPtr HostMemoryBackend::allocate(uint64_t bytes) {
    return HostBuffer::allocate(bytes);
}

BufferPtr HostMemoryBackend::reserve(uint64_t bytes) {
    return HostBuffer::allocate(bytes, PageUse::kSparse);
}

void HostMemoryBackend::clear(const Region& region) {
    OperationCheck("clear").range("region", region.buffer, region.offset, region.bytes);
    attempt([&] {
        if (region.bytes > 0) clear_memory(writable_host_bytes(region.buffer).subspan(region.offset, region.bytes));
    });
}

BufferPtr HostMemoryBackend::adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
    return HostBuffer::adopt(bytes, std::move(owner));
}

std::unique_ptr<SlotMemory> HostMemoryBackend::make_slots(size_t slots, size_t slot_bytes) {
    return std::make_unique<HostSlots>(slots, slot_bytes);
}

void HostMemoryBackend::upload(const BufferPtr& target, uint64_t offset, std::span<const std::byte> source) {
    OperationCheck("upload").range("target", target, offset, source.size());
    attempt([&] {
        if (!source.empty()) std::memcpy(writable_host_bytes(target).data() + offset, source.data(), source.size());
    });
}

void HostMemoryBackend::download(const BufferPtr& source, uint64_t offset, std::span<std::byte> target) {
    OperationCheck("download").range("source", source, offset, target.size());
    attempt([&] {
        if (!target.empty()) std::memcpy(target.data(), host_bytes(source).data() + offset, target.size());
    });
}

void HostMemoryBackend::copy(const Region& source, const Region& target) {
    check_copy(source, target);
    attempt([&] {
        if (source.bytes == 0) return;
        std::memmove(writable_host_bytes(target.buffer).data() + target.offset,
                     host_bytes(source.buffer).data() + source.offset, static_cast<size_t>(source.bytes));
    });
}

void HostMemoryBackend::after(const EventPtr& event) {
    if (event) event->wait();
}

void HostMemoryBackend::wait() {
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace sluice
