#pragma once

#include <exception>
#include <utility>

#include "backend/backend.h"

namespace sluice {

// What every backend that computes on the host at once has in common: memory, transfers, and errors kept for wait().
class HostBackend : public Backend {
  public:
    BufferPtr allocate(uint64_t bytes) override;
    BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) override;
    std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) override;
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

}  // namespace sluice
