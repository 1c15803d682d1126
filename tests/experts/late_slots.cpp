#include "tests/experts/late_slots.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/memory.h"
#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

constexpr int kRubbish = 0xff;

class LateSlots final : public SlotMemory {
  public:
    LateSlots(size_t slots, size_t slot_bytes, const LateSlotsOptions& options)
        : options_(options),
          inner_(slots, slot_bytes),
          ring_(landings() * slot_bytes),
          random_(options.seed),
          thread_([this] { work(); }) {}
    ~LateSlots() override {
        {
            const std::scoped_lock lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

    size_t slots() const override { return inner_.slots(); }
    size_t slot_bytes() const override { return inner_.slot_bytes(); }
    size_t landings() const override { return std::min(options_.landings, slots()); }
    std::byte* land_at(size_t landing, size_t) override { return ring_.data() + landing * slot_bytes(); }
    EventPtr landed(size_t landing, size_t slot) override {
        std::byte* const record = land_at(landing, slot);
        return submit([this, slot, record] {
            copy(slot, record);
            std::memset(record, kRubbish, slot_bytes());
        });
    }
    EventPtr fill(size_t slot, const std::byte* record) override {
        return submit([this, slot, record] { copy(slot, record); });
    }
    EventPtr save(size_t slot, std::byte* record) override {
        return submit([this, slot, record] { std::memcpy(record, inner_.land_at(slot, slot), slot_bytes()); });
    }
    void discard(size_t slot) override {
        if (options_.at_end) submit([this, slot] { std::memset(inner_.land_at(slot, slot), kRubbish, slot_bytes()); });
    }
    bool shrinks_at_end() const override { return options_.at_end; }
    BufferPtr buffer(size_t slot) const override { return inner_.buffer(slot); }
    BufferPtr whole() const override { return inner_.whole(); }

  private:
    struct Item {
        std::function<void()> run;
        std::shared_ptr<ManualCompletion> copied;
    };

    void copy(size_t slot, const std::byte* record) { std::memcpy(inner_.land_at(slot, slot), record, slot_bytes()); }

    EventPtr submit(std::function<void()> run) {
        const std::scoped_lock lock(mutex_);
        if (std::uniform_real_distribution<double>(0, 1)(random_) < options_.failing) {
            fail(ErrorCode::kIo, "the device took no copy");
        }
        items_.push_back({std::move(run), std::make_shared<ManualCompletion>()});
        wake_.notify_all();
        return items_.back().copied;
    }

    void work() {
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return stopping_ || !items_.empty(); });
            if (items_.empty()) return;
            const Item item = std::move(items_.front());
            items_.pop_front();
            const auto late = std::chrono::microseconds(random_() % 8 == 0 ? random_() % 200 : 0);
            lock.unlock();
            if (late.count() > 0) std::this_thread::sleep_for(late);
            item.run();
            item.copied->finish();
            lock.lock();
        }
    }

    LateSlotsOptions options_;
    HostSlots inner_;
    PageMemory ring_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Item> items_;
    bool stopping_ = false;
    std::mt19937_64 random_;
    std::thread thread_;
};

}  // namespace

std::unique_ptr<SlotMemory> make_late_slots(size_t slots, size_t slot_bytes, const LateSlotsOptions& options) {
    return std::make_unique<LateSlots>(slots, slot_bytes, options);
}

bool over_host_tier() {
    static const bool set = std::getenv("SLUICE_TEST_TIERS") != nullptr;
    return set;
}

std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) {
    return over_host_tier() ? make_late_slots(slots, slot_bytes) : make_host_slots(slots, slot_bytes);
}

ExpertStoreOptions tiered(ExpertStoreOptions options, uint64_t host_bytes) {
    if (over_host_tier()) options.host = {.bytes = host_bytes, .make = make_host_slots};
    return options;
}

}  // namespace sluice::testing
