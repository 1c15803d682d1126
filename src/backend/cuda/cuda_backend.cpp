#include "backend/cuda_backend.h"

#include <cstring>
#include <exception>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "backend/checks.h"
#include "backend/cuda/compute.h"
#include "backend/cuda/few_words.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/products.h"
#include "backend/cuda/recording.h"
#include "base/error.h"
#include "sluice/cards.h"

namespace sluice {

namespace {

using cuda::check;
using cuda::device_bytes;

class CudaBackend final : public Backend {
  public:
    explicit CudaBackend(const CudaBackendOptions& options)
        : device_(std::make_shared<cuda::Device>(options.device, options.exact)) {
        size_t free = 0, total = 0;
        check(cudaMemGetInfo(&free, &total), "asking for free memory");
        free_bytes_ = free;
    }
    ~CudaBackend() override { (void)cudaStreamSynchronize(device_->stream()); }

    std::string name() const override { return "cuda (" + device_->name() + ")"; }

    std::optional<uint64_t> own_memory_bytes() const override { return free_bytes_; }

    uint64_t free_memory_bytes() const override {
        size_t free = 0, total = 0;
        device_->use();
        check(cudaMemGetInfo(&free, &total), "asking for free memory");
        return free;
    }

    BufferPtr allocate(uint64_t bytes) override { return cuda::allocate(device_, bytes); }

    BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void>) override {
        BufferPtr copy = allocate(bytes.size());
        upload(copy, 0, bytes);
        return copy;
    }

    std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) override {
        return std::make_unique<cuda::DeviceSlots>(device_, slots, slot_bytes);
    }

    std::unique_ptr<SlotMemory> make_host_slots(size_t slots, size_t slot_bytes) override {
        return std::make_unique<cuda::PinnedSlots>(device_, slots, slot_bytes);
    }

    void clear(const Region& region) override {
        OperationCheck("clear").range("region", region.buffer, region.offset, region.bytes);
        attempt([&] {
            if (region.bytes == 0) return;
            check(cudaMemsetAsync(device_bytes(region.buffer) + region.offset, 0, region.bytes, device_->stream()),
                  "clearing memory");
        });
    }

    // Pageable memory is read before the call returns.
    void upload(const BufferPtr& target, uint64_t offset, std::span<const std::byte> source) override {
        OperationCheck("upload").range("target", target, offset, source.size());
        attempt([&] {
            if (source.empty()) return;
            std::byte* const place = device_bytes(target) + offset;
            if (cuda::are_few_words(place, source.size())) {
                return cuda::store_few_words(device_->stream(), source, place);
            }
            check(cudaMemcpyAsync(place, source.data(), source.size(), cudaMemcpyHostToDevice, device_->stream()),
                  "uploading");
        });
    }

    void download(const BufferPtr& source, uint64_t offset, std::span<std::byte> target) override {
        OperationCheck("download").range("source", source, offset, target.size());
        attempt([&] {
            if (target.empty()) return;
            const std::byte* const place = device_bytes(source) + offset;
            std::byte* const landing = device_->landing(target.size());
            if (landing != nullptr && cuda::are_few_words(place, target.size()) && cuda::are_few_words(landing, 4)) {
                cuda::fetch_few_words(device_->stream(), place, target.size(), landing);
            } else {
                check(cudaMemcpyAsync(landing == nullptr ? target.data() : landing, place, target.size(),
                                      cudaMemcpyDeviceToHost, device_->stream()),
                      "downloading");
            }
            if (landing != nullptr) landed_.push_back({landing, target, device_->landings_end()});
        });
    }

    using Backend::copy;
    void copy(const Region& source, const Region& target) override {
        check_copy(source, target);
        attempt([&] {
            if (source.bytes == 0) return;
            check(cudaMemcpyAsync(device_bytes(target.buffer) + target.offset,
                                  device_bytes(source.buffer) + source.offset, source.bytes, cudaMemcpyDeviceToDevice,
                                  device_->stream()),
                  "copying");
        });
    }

    EventPtr mark() override {
        return std::make_shared<cuda::QueueEvent>(device_, device_->stream(), delivered_ + landed_.size());
    }

    void after(const EventPtr& event) override {
        if (event == nullptr) return;
        if (const auto* queued = dynamic_cast<const cuda::QueueEvent*>(event.get())) {
            attempt([&] { check(cudaStreamWaitEvent(device_->stream(), queued->get()), "waiting for an event"); });
        } else {
            event->wait();
        }
    }

    void wait() override {
        attempt([&] {
            check(cudaStreamSynchronize(device_->stream()), "running operations");
            fill_targets(landed_.size());
        });
        forget_downloads(landed_.size());
    }

    void wait_for(const EventPtr& event) override {
        const auto& queued = dynamic_cast<const cuda::QueueEvent&>(*event);
        const size_t downloads = queued.downloads() > delivered_ ? queued.downloads() - delivered_ : 0;
        attempt([&] {
            check(cudaEventSynchronize(queued.get()), "running operations");
            fill_targets(downloads);
        });
        forget_downloads(downloads);
    }

    // Where all is F32, a prompt's rows meet an expert's weights sooner when the host has put them together.
    bool routes(int64_t rows) const override { return !device_->exact() || rows <= cuda::kMostStepRows; }

    bool reaches() const override { return device_->reaches_host(); }

    // A profile wants to know of every operation.
    bool records() const override { return !profiled(); }
    void begin_recording() override { recorded_.emplace(); }
    std::shared_ptr<Recording> end_recording() override {
        std::shared_ptr<Recording> recording;
        std::vector<Operation> operations = std::exchange(recorded_, std::nullopt).value();
        attempt([&] { recording = std::make_shared<cuda::GraphRecording>(device_, std::move(operations)); });
        return recording;
    }
    bool replay(const Recording& recording) override {
        bool there = true;  // or a failure, which wait() tells
        attempt([&] { there = dynamic_cast<const cuda::GraphRecording&>(recording).launch(); });
        return there;
    }

  protected:
    void execute(const Operation& operation) override {
        if (recorded_) return recorded_->push_back(operation);
        attempt([&] { std::visit([&](const auto& op) { cuda::compute(*device_, op); }, operation); });
    }

  private:
    // Hands `work` over unless something failed since the last wait(); keeps its exception for wait().
    template <typename Work>
    void attempt(Work&& work) {
        if (failure_) return;
        try {
            device_->use();
            std::forward<Work>(work)();
        } catch (...) {
            failure_ = std::current_exception();
        }
    }

    // A download that lies in pinned memory until it is waited for.
    struct Landed {
        const std::byte* landing;
        std::span<std::byte> target;
        uint64_t end;  // of landings
    };

    // Of the oldest downloads.
    void fill_targets(size_t count) {
        for (size_t i = 0; i < count; ++i) {
            std::memcpy(landed_[i].target.data(), landed_[i].landing, landed_[i].target.size());
        }
    }
    // Those that were waited for; throws what failed meanwhile.
    void forget_downloads(size_t count) {
        if (count > 0) device_->free_landings(landed_[count - 1].end);
        landed_.erase(landed_.begin(), landed_.begin() + static_cast<std::ptrdiff_t>(count));
        delivered_ += count;
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

    std::shared_ptr<cuda::Device> device_;
    std::vector<Landed> landed_;
    uint64_t delivered_ = 0;  // downloads that are no longer among them
    std::exception_ptr failure_;
    std::optional<std::vector<Operation>> recorded_;  // none: operations run
    uint64_t free_bytes_ = 0;
};

}  // namespace

std::vector<Card> cards() {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        (void)cudaGetLastError();
        return {};
    }
    std::vector<Card> found;
    for (int i = 0; i < count; ++i) {
        cudaDeviceProp properties{};
        size_t free = 0, total = 0;
        int kilohertz = 0, bits = 0;
        check(cudaSetDevice(i), "choosing the device");
        check(cudaGetDeviceProperties(&properties, i), "asking for the card's properties");
        check(cudaMemGetInfo(&free, &total), "asking for free memory");
        check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrMemoryClockRate, i), "asking for the card's clock");
        check(cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, i), "asking for the card's memory");
        found.push_back({.name = properties.name,
                         .compute_capability = properties.major * 10 + properties.minor,
                         .memory_bytes = total,
                         .free_bytes = free,
                         .memory_bytes_per_s = 2e3 * kilohertz * bits / 8});
    }
    return found;
}

bool built_with_cuda() {
    return true;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaBackendOptions& options) {
    return std::make_unique<CudaBackend>(options);
}

}  // namespace sluice
