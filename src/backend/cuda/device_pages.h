#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/cuda/device.h"

namespace sluice::cuda {

// A range of the device's memory of which whole pieces can be given back to others, and taken again under the same
// addresses. One thread at a time.
class DevicePages {
  public:
    // All of it is there. Throws kOutOfMemory.
    DevicePages(std::shared_ptr<Device> device, uint64_t bytes);
    DevicePages(const DevicePages&) = delete;
    DevicePages& operator=(const DevicePages&) = delete;
    ~DevicePages();

    std::byte* data() const { return data_; }
    // Every byte is in use at first. Once nobody uses a piece, its memory goes back; nothing on the device may touch
    // it any more.
    void end_use(uint64_t offset, uint64_t bytes);
    // False: there is no memory for it.
    bool begin_use(uint64_t offset, uint64_t bytes);

  private:
    bool reserve(uint64_t bytes);
    bool take(size_t piece);
    void give_back(size_t piece);
    void give_all_back();

    std::shared_ptr<Device> device_;
    std::byte* data_ = nullptr;
    uint64_t bytes_ = 0, piece_bytes_ = 0;
    bool in_pieces_ = false;                   // else one allocation, which stays
    std::vector<unsigned long long> handles_;  // of pieces
    std::vector<uint64_t> used_;               // bytes of each
    std::vector<bool> there_;
};

}  // namespace sluice::cuda
