#include "backend/cuda/device.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/size.h"
#include "device/host_buffer.h"
#include "tensor/iq_grids.h"

namespace sluice::cuda {

void check(cudaError_t status, const char* what) {
    if (status == cudaSuccess) return;
    (void)cudaGetLastError();  // or the next launch would report it again
    if (status == cudaErrorMemoryAllocation) {
        fail(ErrorCode::kOutOfMemory, "CUDA: the card's memory is full ({}); give a smaller `ram_bytes` or `context`",
             what);
    }
    fail(ErrorCode::kIo, "CUDA: {} failed: {}; start again, or with `device` cpu", what, cudaGetErrorString(status));
}

void refuse(const std::string& message) {
    fail(ErrorCode::kUnsupported, "{}", message);
}

namespace {

constexpr uint64_t kCopyBytes = 4 << 20;

std::unique_ptr<Grids> all_grids() {
    auto grids = std::make_unique<Grids>();
    std::ranges::copy(kIq2XxsGrid, grids->iq2_xxs);
    std::ranges::copy(kIq2XsGrid, grids->iq2_xs);
    std::ranges::copy(kIq2SGrid, grids->iq2_s);
    std::ranges::copy(kIq1Grid, grids->iq1);
    std::ranges::copy(kIq3XxsGrid, grids->iq3_xxs);
    std::ranges::copy(kIq3SGrid, grids->iq3_s);
    return grids;
}

}  // namespace

Device::Device(int index, bool exact) : index_(index), exact_(exact) {
    int count = 0;
    if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
        (void)cudaGetLastError();
        fail(ErrorCode::kUnsupported, "`device` cuda: {}; `device` cpu runs everywhere", cudaGetErrorString(status));
    }
    if (index < 0 || index >= count) {
        fail(ErrorCode::kUnsupported,
             "`device` cuda:{}: this machine has {} card{}, counted from 0; `device` cpu runs everywhere", index, count,
             count == 1 ? "" : "s");
    }
    use();
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, index), "asking for the card's properties");
    name_ = properties.name;
    multiprocessors_ = properties.multiProcessorCount;
    begins_early_ = properties.major >= 9;
    int reaches = 0;
    check(cudaDeviceGetAttribute(&reaches, cudaDevAttrCanUseHostPointerForRegisteredMem, index),
          "asking for addresses");
    reaches_host_ = reaches != 0;
    for (Lane& lane : lanes_) check(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking), "making a queue");
    check(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "making a queue");
    check(cudaStreamCreateWithFlags(&saves_, cudaStreamNonBlocking), "making a queue");
    check(cudaHostAlloc(reinterpret_cast<void**>(&landings_), kCopyBytes, cudaHostAllocDefault), "pinned memory");
    check(cudaMalloc(reinterpret_cast<void**>(&grids_), sizeof(Grids)), "tables of weight formats");
    check(cudaMemcpy(grids_, all_grids().get(), sizeof(Grids), cudaMemcpyHostToDevice), "tables of weight formats");
}

Device::~Device() {
    (void)cudaSetDevice(index_);
    (void)cudaStreamSynchronize(copies_);
    (void)cudaStreamSynchronize(saves_);
    for (const Lane& lane : lanes_) {
        (void)cudaStreamSynchronize(lane.stream);
        (void)cudaFree(lane.scratch);
        (void)cudaStreamDestroy(lane.stream);
    }
    (void)cudaFree(grids_);
    (void)cudaFreeHost(landings_);
    (void)cudaStreamDestroy(copies_);
    (void)cudaStreamDestroy(saves_);
}

std::byte* Device::scratch(uint64_t bytes) {
    Lane& lane = lanes_[lane_];
    if (bytes <= lane.scratch_bytes) return lane.scratch;
    cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(lane.stream, &recording), "asking for a queue's state");
    if (recording != cudaStreamCaptureStatusNone) {
        lane.wanted_bytes = bytes;
        throw ScratchIsShort{};
    }
    grow_scratch(lane, bytes);
    return lane.scratch;
}

void Device::grow_scratch() {
    for (Lane& lane : lanes_) {
        if (lane.wanted_bytes > lane.scratch_bytes) grow_scratch(lane, lane.wanted_bytes);
    }
}

void Device::grow_scratch(Lane& lane, uint64_t bytes) {
    check(cudaStreamSynchronize(lanes_[0].stream), "waiting for operations");
    check(cudaFree(std::exchange(lane.scratch, nullptr)), "giving scratch back");
    lane.scratch_bytes = 0;
    ++scratch_version_;
    const uint64_t wanted = bytes + bytes / 4;
    check(cudaMalloc(reinterpret_cast<void**>(&lane.scratch), wanted), "scratch of an operation");
    lane.scratch_bytes = wanted;
}

std::byte* Device::landing(uint64_t bytes) {
    const uint64_t place = landings_end_ % kCopyBytes, skipped = place + bytes > kCopyBytes ? kCopyBytes - place : 0;
    if (landings_end_ + skipped + bytes > landings_begin_ + kCopyBytes) return nullptr;
    landings_end_ += skipped + bytes;
    return landings_ + (place + skipped) % kCopyBytes;
}

std::byte* device_bytes(const BufferPtr& buffer) {
    const auto* device = dynamic_cast<const DeviceBuffer*>(buffer.get());
    if (device == nullptr) {
        fail(ErrorCode::kUsage,
             "a buffer is missing or belongs to another backend: use buffers of the backend that runs the operation");
    }
    return device->data();
}

const std::byte* reached_bytes(const BufferPtr& buffer) {
    if (buffer != nullptr && buffer->space() == Space::kHost) return host_bytes(buffer).data();
    return device_bytes(buffer);
}

}  // namespace sluice::cuda
