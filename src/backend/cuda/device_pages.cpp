#include "backend/cuda/device_pages.h"

#include <cuda.h>

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"

namespace sluice::cuda {

namespace {

constexpr uint64_t kPieceBytes = 32ull << 20;

// The driver's functions for this, which the program is not linked with.
struct Driver {
    decltype(&cuMemGetAllocationGranularity) granularity = nullptr;
    decltype(&cuMemAddressReserve) reserve = nullptr;
    decltype(&cuMemAddressFree) free_address = nullptr;
    decltype(&cuMemCreate) create = nullptr;
    decltype(&cuMemRelease) release = nullptr;
    decltype(&cuMemMap) map = nullptr;
    decltype(&cuMemUnmap) unmap = nullptr;
    decltype(&cuMemSetAccess) set_access = nullptr;
    bool complete = true;

    Driver() {
        find("cuMemGetAllocationGranularity", granularity);
        find("cuMemAddressReserve", reserve);
        find("cuMemAddressFree", free_address);
        find("cuMemCreate", create);
        find("cuMemRelease", release);
        find("cuMemMap", map);
        find("cuMemUnmap", unmap);
        find("cuMemSetAccess", set_access);
    }

  private:
    template <typename Function>
    void find(const char* name, Function& function) {
        void* found = nullptr;
        cudaDriverEntryPointQueryResult result{};
        const cudaError_t status = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result);
        if (status != cudaSuccess) (void)cudaGetLastError();
        complete = complete && status == cudaSuccess && result == cudaDriverEntryPointSuccess;
        function = reinterpret_cast<Function>(found);
    }
};

const Driver& driver() {
    static const Driver functions;
    return functions;
}

CUmemAllocationProp pinned_on(int device) {
    CUmemAllocationProp properties{};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
    return properties;
}

CUdeviceptr address_of(const std::byte* place) {
    return reinterpret_cast<CUdeviceptr>(place);
}

}  // namespace

DevicePages::DevicePages(std::shared_ptr<Device> device, uint64_t bytes) : device_(std::move(device)) {
    device_->use();
    bytes = std::max<uint64_t>(bytes, 1);
    if (!reserve(bytes)) {
        in_pieces_ = false;
        check(cudaMalloc(reinterpret_cast<void**>(&data_), bytes), "expert slots");
        return;
    }
    for (size_t piece = 1; piece < there_.size(); ++piece) {
        if (take(piece)) continue;
        give_all_back();
        fail(ErrorCode::kOutOfMemory, "CUDA: {} has no {} for expert slots; give a smaller `ram_bytes` or `context`",
             device_->name(), format_size(bytes));
    }
    // What is behind the last byte asked for is nobody's.
    used_.back() -= bytes_ - bytes;
}

// The addresses, and memory for the first piece. False: this driver does not give memory in pieces.
bool DevicePages::reserve(uint64_t bytes) {
    const CUmemAllocationProp properties = pinned_on(device_->index());
    size_t granularity = 0;
    CUdeviceptr first = 0;
    if (!driver().complete ||
        driver().granularity(&granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) != CUDA_SUCCESS) {
        return false;
    }
    piece_bytes_ = round_up(kPieceBytes, granularity);
    bytes_ = round_up(bytes, piece_bytes_);
    if (driver().reserve(&first, bytes_, 0, 0, 0) != CUDA_SUCCESS) return false;
    data_ = reinterpret_cast<std::byte*>(first);
    in_pieces_ = true;
    handles_.resize(bytes_ / piece_bytes_);
    there_.resize(handles_.size());
    used_.assign(handles_.size(), piece_bytes_);
    if (take(0)) return true;
    give_all_back();
    return false;
}

void DevicePages::give_all_back() {
    for (size_t piece = 0; piece < there_.size(); ++piece) {
        if (there_[piece]) give_back(piece);
    }
    (void)driver().free_address(address_of(data_), bytes_);
}

DevicePages::~DevicePages() {
    (void)cudaSetDevice(device_->index());
    if (!in_pieces_) {
        (void)cudaFree(data_);
        return;
    }
    (void)cudaDeviceSynchronize();
    give_all_back();
}

bool DevicePages::take(size_t piece) {
    const CUmemAllocationProp properties = pinned_on(device_->index());
    CUmemGenericAllocationHandle handle = 0;
    if (driver().create(&handle, piece_bytes_, &properties, 0) != CUDA_SUCCESS) return false;
    const CUdeviceptr place = address_of(data_ + piece * piece_bytes_);
    const CUmemAccessDesc access{.location = properties.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    if (driver().map(place, piece_bytes_, 0, handle, 0) != CUDA_SUCCESS) {
        (void)driver().release(handle);
        return false;
    }
    handles_[piece] = handle;
    there_[piece] = true;
    if (driver().set_access(place, piece_bytes_, &access, 1) == CUDA_SUCCESS) return true;
    give_back(piece);
    return false;
}

void DevicePages::give_back(size_t piece) {
    (void)driver().unmap(address_of(data_ + piece * piece_bytes_), piece_bytes_);
    (void)driver().release(handles_[piece]);
    there_[piece] = false;
}

void DevicePages::end_use(uint64_t offset, uint64_t bytes) {
    for (uint64_t at = offset; in_pieces_ && at < offset + bytes;) {
        const size_t piece = at / piece_bytes_;
        const uint64_t end = std::min(offset + bytes, (piece + 1) * piece_bytes_);
        used_[piece] -= end - at;
        if (used_[piece] == 0) give_back(piece);
        at = end;
    }
}

bool DevicePages::begin_use(uint64_t offset, uint64_t bytes) {
    if (!in_pieces_) return true;
    for (size_t piece = offset / piece_bytes_; piece * piece_bytes_ < offset + bytes; ++piece) {
        if (!there_[piece] && !take(piece)) return false;
    }
    for (uint64_t at = offset; at < offset + bytes;) {
        const size_t piece = at / piece_bytes_;
        const uint64_t end = std::min(offset + bytes, (piece + 1) * piece_bytes_);
        used_[piece] += end - at;
        at = end;
    }
    return true;
}

}  // namespace sluice::cuda
