#pragma once

// One CUDA device: its queues, its errors, memory that operations need while they run. No heavy header: kernels are
// compiled with this.

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

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
    // Whether kernels read memory of the host that is held in place, under the addresses that it has here.
    bool reaches_host() const { return reaches_host_; }
    cudaStream_t stream() const { return lanes_[lane_].stream; }  // operations; of the first lane transfers, too
    cudaStream_t copies() const { return copies_; }               // landings to slots
    cudaStream_t saves() const { return saves_; }                 // slots to the host's memory

    // Operations that are recorded may lie in several lanes, which run side by side.
    static constexpr size_t kLanes = 4;
    cudaStream_t lane(size_t lane) const { return lanes_[lane].stream; }
    void use_lane(size_t lane) { lane_ = lane; }

    // Whether the next kernel may begin before the one before it has ended: not where it waits for another lane.
    void begin_in_order() { in_order_ = true; }
    bool take_early() { return !std::exchange(in_order_, false) && begins_early_; }

    // Whether blocks can reach each other's shared memory.
    bool has_clusters() const { return begins_early_; }

    // For the operation that is being handed over; the next one in its lane overwrites it. While operations are
    // recorded no memory can be taken: what is missing is noted, and ScratchIsShort thrown.
    struct ScratchIsShort {};
    std::byte* scratch(uint64_t bytes);
    void grow_scratch();                                           // to what was noted
    uint64_t scratch_version() const { return scratch_version_; }  // another once some of it has moved
    // Pinned memory for a download, until it is given back with all before it; null where there is no room.
    std::byte* landing(uint64_t bytes);
    uint64_t landings_end() const { return landings_end_; }
    void free_landings(uint64_t end) { landings_begin_ = end; }
    const Grids* grids() const { return grids_; }

  private:
    int index_;
    bool exact_;
    std::string name_;
    int multiprocessors_ = 0;
    struct Lane {
        cudaStream_t stream = nullptr;
        std::byte* scratch = nullptr;
        uint64_t scratch_bytes = 0, wanted_bytes = 0;
    };
    void grow_scratch(Lane& lane, uint64_t bytes);

    std::array<Lane, kLanes> lanes_;
    size_t lane_ = 0;
    bool begins_early_ = false;  // whether the card can, as Hopper
    bool reaches_host_ = false;
    bool in_order_ = false;
    uint64_t scratch_version_ = 0;
    cudaStream_t copies_ = nullptr, saves_ = nullptr;
    std::byte* landings_ = nullptr;
    uint64_t landings_begin_ = 0, landings_end_ = 0;  // in use, as bytes that were ever given
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
// The same, or memory of the host that is held in place for the device, which reads it over the link.
const std::byte* reached_bytes(const BufferPtr& buffer);

}  // namespace sluice::cuda
