#pragma once

// One CUDA device: its queues, its errors, memory that operations need while they run. No heavy header: kernels are
// compiled with this.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "device/buffer.h"

namespace sluice::cuda {

// Throws Error for anything but success: kOutOfMemory where memory is short, else kIo. `what` was being done.
void check(cudaError_t status, const char* what);
// Throws kUnsupported.
[[noreturn]] void refuse(const std::string& message);

// The tables that GGUF's I-quants choose columns from (tensor/iq_grids.h), in the device's memory.
struct Grids {
    uint64_t iq2_xxs[256], iq2_xs[512], iq2_s[1024], iq1[2048];
    uint32_t iq3_xxs[256], iq3_s[512];
};

class Device {
  public:
    // Throws kUnsupported where there is no such device.
    Device(int index, bool exact);
    Device(const Device&) = delete;
    ~Device();

    // For the calling thread: whatever touches the device comes after it.
    void use() const { check(cudaSetDevice(index_), "choosing the device"); }
    int index() const { return index_; }
    bool exact() const { return exact_; }  // F32 throughout
    const std::string& name() const { return name_; }
    int multiprocessors() const { return multiprocessors_; }
    cudaStream_t stream() const { return stream_; }  // operations and transfers
    cudaStream_t copies() const { return copies_; }  // landings to slots

    // For the operation that is being handed over; the next one overwrites it.
    std::byte* scratch(uint64_t bytes);
    // Pinned memory for a download, until free_landings(); null where there is no room.
    std::byte* landing(uint64_t bytes);
    void free_landings() { landed_bytes_ = 0; }
    const Grids* grids() const { return grids_; }

  private:
    int index_;
    bool exact_;
    std::string name_;
    int multiprocessors_ = 0;
    cudaStream_t stream_ = nullptr, copies_ = nullptr;
    std::byte* scratch_ = nullptr;
    uint64_t scratch_bytes_ = 0;
    std::byte* landings_ = nullptr;
    uint64_t landed_bytes_ = 0;
    Grids* grids_ = nullptr;
};

// Memory of the device. What `owner` holds lives as long.
class DeviceBuffer final : public Buffer {
  public:
    DeviceBuffer(std::shared_ptr<const void> owner, std::byte* data, uint64_t bytes)
        : owner_(std::move(owner)), data_(data), bytes_(bytes) {}
    uint64_t bytes() const override { return bytes_; }
    Space space() const override { return Space::kDevice; }
    std::byte* data() const { return data_; }

  private:
    std::shared_ptr<const void> owner_;
    std::byte* data_;
    uint64_t bytes_;
};

// Throws kUsage for a buffer of another backend.
std::byte* device_bytes(const BufferPtr& buffer);

}  // namespace sluice::cuda
