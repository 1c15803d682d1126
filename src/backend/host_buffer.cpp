#include "backend/host_buffer.h"

#include <limits>
#include <utility>

#include "base/error.h"
#include "base/size.h"

namespace sluice {

namespace {

const HostBuffer& host_buffer(const BufferPtr& buffer) {
    const auto* host = dynamic_cast<const HostBuffer*>(buffer.get());
    if (host == nullptr) {
        fail(ErrorCode::kUsage,
             "a buffer is missing or belongs to another backend: use buffers of the backend that runs "
             "the operation");
    }
    return *host;
}

const HostBuffer& writable_buffer(const BufferPtr& buffer) {
    const HostBuffer& host = host_buffer(buffer);
    if (!host.writable()) {
        fail(ErrorCode::kUsage, "an adopted buffer is read-only: write to a buffer made by allocate()");
    }
    return host;
}

template <typename Element>
Element* elements(const HostBuffer& buffer, const Tensor& tensor) {
    std::byte* first = buffer.data() + tensor.offset;
    if (reinterpret_cast<uintptr_t>(first) % alignof(Element) != 0) {
        fail(ErrorCode::kUsage,
             "a tensor of adopted memory starts at an address that is no multiple of {}: upload() it "
             "to a buffer made by allocate()",
             alignof(Element));
    }
    return reinterpret_cast<Element*>(first);
}

}  // namespace

BufferPtr HostBuffer::allocate(uint64_t bytes) {
    if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail(ErrorCode::kOutOfMemory, "no memory holds {} bytes: ask for less", bytes);
    }
    auto memory = std::make_shared<PageMemory>(static_cast<size_t>(bytes));
    std::byte* data = memory->data();
    return std::make_shared<HostBuffer>(data, bytes, true, std::move(memory));
}

BufferPtr HostBuffer::adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
    // Never written through: writable_buffer() refuses it.
    return std::make_shared<HostBuffer>(const_cast<std::byte*>(bytes.data()), bytes.size(), false, std::move(owner));
}

HostSlots::HostSlots(size_t slots, size_t slot_bytes) : slot_bytes_(slot_bytes) {
    if (slot_bytes == 0 || slot_bytes % kPageBytes != 0) {
        fail(ErrorCode::kUsage, "expert slots of {} bytes: the size must be a positive multiple of {}", slot_bytes,
             kPageBytes);
    }
    if (slots > std::numeric_limits<int64_t>::max() / slot_bytes) {
        fail(ErrorCode::kOutOfMemory, "{} expert slots of {} fit no memory: ask for fewer", slots,
             format_size(slot_bytes));
    }
    memory_ = std::make_shared<PageMemory>(slots * slot_bytes);
    buffers_.reserve(slots);
    for (size_t slot = 0; slot < slots; ++slot) {
        buffers_.push_back(std::make_shared<HostBuffer>(landing(slot), slot_bytes, true, memory_));
    }
}

std::span<const std::byte> host_bytes(const BufferPtr& buffer) {
    const HostBuffer& host = host_buffer(buffer);
    return {host.data(), static_cast<size_t>(host.bytes())};
}

std::span<std::byte> writable_host_bytes(const BufferPtr& buffer) {
    const HostBuffer& host = writable_buffer(buffer);
    return {host.data(), static_cast<size_t>(host.bytes())};
}

const float* floats(const Tensor& tensor) {
    return elements<float>(host_buffer(tensor.buffer), tensor);
}
const int32_t* ints(const Tensor& tensor) {
    return elements<int32_t>(host_buffer(tensor.buffer), tensor);
}
float* writable_floats(const Tensor& tensor) {
    return elements<float>(writable_buffer(tensor.buffer), tensor);
}
int32_t* writable_ints(const Tensor& tensor) {
    return elements<int32_t>(writable_buffer(tensor.buffer), tensor);
}

WeightView view(const Weight& weight) {
    const auto part = [](const WeightPart& bytes) { return host_bytes(bytes.buffer).data() + bytes.offset; };
    WeightView result;
    result.format = weight.format;
    result.rows = weight.rows;
    result.columns = weight.columns;
    result.data = part(weight.data);
    if (weight.format.has_scales()) result.scales = part(weight.scales);
    if (weight.format.has_biases()) result.biases = part(weight.biases);
    result.block_row_offset = weight.block_row_offset;
    return result;
}

}  // namespace sluice
