#include "backend/cuda/memory.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/size.h"

namespace sluice::cuda {

namespace {

// Pinned memory for records under way: enough reads to keep a drive and the bus busy.
constexpr uint64_t kLandingBytes = 256ull << 20;
constexpr size_t kFewestLandings = 4, kMostLandings = 64;

// One allocation. Freeing waits for the device, so that queued work never meets freed memory.
struct Allocation {
    std::shared_ptr<Device> device;
    std::byte* data = nullptr;

    Allocation(std::shared_ptr<Device> of, uint64_t bytes) : device(std::move(of)) {
        device->use();
        const cudaError_t status = cudaMalloc(reinterpret_cast<void**>(&data), std::max<uint64_t>(bytes, 1));
        if (status == cudaErrorMemoryAllocation) {
            (void)cudaGetLastError();
            size_t free = 0, total = 0;
            check(cudaMemGetInfo(&free, &total), "asking for free memory");
            fail(ErrorCode::kOutOfMemory,
                 "CUDA: {} are wanted of {}, which has {} of {} free; give a smaller `ram_bytes` "
                 "or `context`",
                 format_size(bytes), device->name(), format_size(free), format_size(total));
        }
        check(status, "allocating memory");
    }
    Allocation(const Allocation&) = delete;
    ~Allocation() {
        (void)cudaSetDevice(device->index());
        (void)cudaFree(data);
    }
};

}  // namespace

BufferPtr allocate(const std::shared_ptr<Device>& device, uint64_t bytes) {
    if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail(ErrorCode::kOutOfMemory, "no memory holds {} bytes: ask for less", bytes);
    }
    auto memory = std::make_shared<Allocation>(device, bytes);
    std::byte* const data = memory->data;
    if (bytes > 0) check(cudaMemsetAsync(data, 0, bytes, device->stream()), "clearing memory");
    return std::make_shared<DeviceBuffer>(std::move(memory), data, bytes);
}

QueueEvent::QueueEvent(std::shared_ptr<Device> device, cudaStream_t stream, uint64_t downloads)
    : device_(std::move(device)), downloads_(downloads) {
    device_->use();
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
    if (const cudaError_t status = cudaEventRecord(event_, stream); status != cudaSuccess) {
        (void)cudaEventDestroy(event_);
        check(status, "recording an event");
    }
}

QueueEvent::~QueueEvent() {
    (void)cudaEventDestroy(event_);
}

// An event that failed is done: its error is told by the queue's wait().
bool QueueEvent::done() const {
    return cudaEventQuery(event_) != cudaErrorNotReady;
}

void QueueEvent::wait() {
    device_->use();
    check(cudaEventSynchronize(event_), "waiting for a copy");
}

DeviceSlots::DeviceSlots(std::shared_ptr<Device> device, size_t slots, size_t slot_bytes)
    : device_(std::move(device)), slot_bytes_(slot_bytes) {
    check_slot_sizes(slots, slot_bytes);
    filled_.resize(slots);
    landings_ = std::min(slots, std::clamp<size_t>(kLandingBytes / slot_bytes, kFewestLandings, kMostLandings));
    pages_ = std::make_shared<DevicePages>(device_, slots * slot_bytes);
    whole_ = std::make_shared<DeviceBuffer>(pages_, pages_->data(), slots * slot_bytes);
    for (size_t slot = 0; slot < slots; ++slot) {
        buffers_.push_back(std::make_shared<DeviceBuffer>(pages_, pages_->data() + slot * slot_bytes, slot_bytes));
    }
    check(cudaHostAlloc(reinterpret_cast<void**>(&pinned_), std::max<size_t>(landings_ * slot_bytes, 1),
                        cudaHostAllocPortable),
          "landings of expert slots");
}

DeviceSlots::~DeviceSlots() {
    (void)cudaSetDevice(device_->index());
    (void)cudaStreamSynchronize(device_->copies());
    (void)cudaStreamSynchronize(device_->saves());
    (void)cudaFreeHost(pinned_);
}

std::byte* DeviceSlots::land_at(size_t landing, size_t) {
    return pinned_ + landing * slot_bytes_;
}

EventPtr DeviceSlots::fill(size_t slot, const std::byte* record) {
    device_->use();
    check(cudaMemcpyAsync(device_bytes(buffers_[slot]), record, slot_bytes_, cudaMemcpyHostToDevice, device_->copies()),
          "copying an expert");
    return filled_[slot] = std::make_shared<QueueEvent>(device_, device_->copies());
}

void DeviceSlots::after(const EventPtr& event) {
    const auto* queued = dynamic_cast<const QueueEvent*>(event.get());
    if (queued == nullptr) return SlotMemory::after(event);
    device_->use();
    check(cudaStreamWaitEvent(device_->copies(), queued->get()), "waiting for an operation");
}

// Beside what fills slots: the link carries both ways at once.
EventPtr DeviceSlots::save(size_t slot, std::byte* record) {
    device_->use();
    if (filled_[slot] != nullptr) {
        check(cudaStreamWaitEvent(device_->saves(), filled_[slot]->get()), "waiting for an expert");
    }
    check(cudaMemcpyAsync(record, device_bytes(buffers_[slot]), slot_bytes_, cudaMemcpyDeviceToHost, device_->saves()),
          "saving an expert");
    auto saved = std::make_shared<QueueEvent>(device_, device_->saves());
    check(cudaStreamWaitEvent(device_->copies(), saved->get()), "waiting for an expert");
    return saved;
}

// A record may be on its way still that nobody waited for. Slots are discarded seldom.
void DeviceSlots::discard(size_t slot) {
    device_->use();
    check(cudaStreamSynchronize(device_->copies()), "waiting for copies");
    check(cudaStreamSynchronize(device_->saves()), "waiting for copies");
    pages_->end_use(slot * slot_bytes_, slot_bytes_);
}

PinnedSlots::PinnedSlots(std::shared_ptr<Device> device, size_t slots, size_t slot_bytes)
    : device_(std::move(device)), memory_(slots, slot_bytes), held_(slots, Held::kNot) {}

PinnedSlots::~PinnedSlots() {
    (void)cudaSetDevice(device_->index());
    (void)cudaStreamSynchronize(device_->copies());
    (void)cudaStreamSynchronize(device_->saves());
    for (size_t slot = 0; slot < slots(); ++slot) discard(slot);
}

// What the system refuses to hold in place is copied by way of the driver's own memory: slower, not wrong.
std::byte* PinnedSlots::land_at(size_t landing, size_t slot) {
    std::byte* const place = memory_.land_at(landing, slot);
    if (held_[slot] == Held::kNot) {
        (void)cudaSetDevice(device_->index());
        const bool held = cudaHostRegister(place, slot_bytes(), cudaHostRegisterPortable) == cudaSuccess;
        if (!held) {
            (void)cudaGetLastError();
            log_debug("expert slots: the system holds no more memory in place for the card; copies will be slower");
        }
        held_[slot] = held ? Held::kInPlace : Held::kRefused;
    }
    return place;
}

void PinnedSlots::discard(size_t slot) {
    if (held_[slot] == Held::kInPlace) (void)cudaHostUnregister(memory_.land_at(slot, slot));
    held_[slot] = Held::kNot;
    memory_.discard(slot);
}

}  // namespace sluice::cuda
