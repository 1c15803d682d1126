#pragma once

#include <exception>
#include <utility>
#include <variant>

#include "backend/backend.h"

namespace sluice {

// Memory and transfers of a backend that computes on the host at once, and errors kept for wait().
class HostMemoryBackend : public Backend {
  public:
    BufferPtr allocate(uint64_t bytes) override;
    BufferPtr reserve(uint64_t bytes) override;
    BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) override;
    std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) override;
    void clear(const Region& region) override;
    void discard(const Region& region) override { clear(region); }
    void upload(const BufferPtr& target, uint64_t offset, std::span<const std::byte> source) override;
    void download(const BufferPtr& source, uint64_t offset, std::span<std::byte> target) override;
    using Backend::copy;
    void copy(const Region& source, const Region& target) override;
    void wait() override;  // rethrows the first failure since the last wait()
    EventPtr mark() override { return nullptr; }
    void after(const EventPtr& event) override;

  protected:
    // Runs `work` unless something failed since the last wait(); keeps its exception for wait().
    template <typename Work>
    void attempt(Work&& work) {
        if (failure_) return;
        try {
            std::forward<Work>(work)();
        } catch (...) {
            failure_ = std::current_exception();
        }
    }

  private:
    std::exception_ptr failure_;
};

// A backend that computes on the host at once. `Self` has a compute(const Op&) for every operation: one that lacks some
// does not compile.
template <typename Self>
class HostBackend : public HostMemoryBackend {
  protected:
    void execute(const Operation& operation) final {
        attempt([&] { std::visit([&](const auto& op) { static_cast<Self&>(*this).compute(op); }, operation); });
    }
};

}  // namespace sluice
