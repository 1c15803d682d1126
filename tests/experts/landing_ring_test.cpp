// A store whose slots have few landing areas, which are free again only when a copy is over, as on a device.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <optional>

#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

class Copy final : public Event {
  public:
    bool done() const override { return done_; }
    void wait() override { done_.wait(false); }
    void finish() {
        done_ = true;
        done_.notify_all();
    }

  private:
    std::atomic<bool> done_{false};
};

// Two landing areas. A copy is over when the test says so.
class RingSlots final : public SlotMemory {
  public:
    RingSlots(size_t slots, size_t slot_bytes) : inner_(slots, slot_bytes), ring_(2 * slot_bytes) {}

    size_t slots() const override { return inner_.slots(); }
    size_t slot_bytes() const override { return inner_.slot_bytes(); }
    size_t landings() const override { return 2; }
    std::byte* land_at(size_t landing, size_t) override { return ring_.data() + landing * slot_bytes(); }
    EventPtr landed(size_t landing, size_t slot) override { return fill(slot, land_at(landing, slot)); }
    EventPtr fill(size_t slot, const std::byte* record) override {
        std::memcpy(inner_.land_at(slot, slot), record, slot_bytes());
        const std::scoped_lock lock(mutex_);
        return copies_.emplace_back(std::make_shared<Copy>());
    }
    EventPtr save(size_t slot, std::byte* record) override { return inner_.save(slot, record); }
    void discard(size_t slot) override { inner_.discard(slot); }
    BufferPtr whole() const override { return inner_.whole(); }
    BufferPtr buffer(size_t slot) const override { return inner_.buffer(slot); }

    void finish_copies() {
        const std::scoped_lock lock(mutex_);
        for (const auto& copy : copies_) copy->finish();
        copies_.clear();
    }

  private:
    HostSlots inner_;
    PageMemory ring_;
    std::mutex mutex_;
    std::vector<std::shared_ptr<Copy>> copies_;
};

class LandingRing : public ::testing::Test {
  protected:
    ~LandingRing() override {
        ending_ = true;
        if (device_.joinable()) device_.join();
    }

    // From now on copies end by themselves.
    void start_device() {
        device_ = std::thread([this] {
            for (; !ending_; std::this_thread::sleep_for(std::chrono::microseconds(100))) ring_->finish_copies();
        });
    }
    void wait_for(uint64_t bytes) const {
        while (store_->counters().bytes_read < bytes) std::this_thread::yield();
    }

    const FileModel model_{{}};
    RingSlots* ring_ = nullptr;
    std::optional<ExpertStore> store_{std::in_place, model_.catalogue(),
                                      ExpertStoreOptions{.cache_bytes = model_.bytes_of(24),
                                                         .reader = ReaderKind::kPread,
                                                         .policy = EvictionPolicy::kLru,
                                                         .read_threads = 4,
                                                         .look_ahead = When::kOn},
                                      [this](size_t slots, size_t bytes) {
                                          auto made = std::make_unique<RingSlots>(slots, bytes);
                                          ring_ = made.get();
                                          return made;
                                      }};
    std::atomic<bool> ending_{false};
    std::thread device_;
};

TEST_F(LandingRing, BoundsTheReadsUnderWay) {
    ExpertStream stream = store_->stream(0, range(0, 8));
    const std::vector<HeldExpert> first = take(stream, 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(store_->counters().bytes_read, 2 * 8192u) << "both landing areas still feed their slots";
    for (const HeldExpert& held : first) {
        ASSERT_NE(held.arrived(), nullptr);
        EXPECT_FALSE(held.arrived()->done());
    }
    {
        ExpertStream again = store_->stream(0, std::vector<int>{first[0].expert()});
        const std::vector<HeldExpert> hit = take(again, 1);
        EXPECT_EQ(hit[0].arrived(), first[0].arrived()) << "a hit waits for the copy as well";
    }
    start_device();
    size_t got = first.size();
    drain(stream, [&](const HeldExpert& held) {
        if (held.arrived()) held.arrived()->wait();
        EXPECT_TRUE(model_.matches(0, held));
        ++got;
    });
    EXPECT_EQ(got, 8u);
    EXPECT_EQ(store_->counters().bytes_read, 8 * 8192u);
}

TEST_F(LandingRing, WhatWaitsForALandingIsForgottenWithItsStream) {
    {
        ExpertStream stream = store_->stream(0, range(0, 8));
        wait_for(2 * 8192);
    }
    start_device();
    ExpertStream stream = store_->stream(1, range(0, 4));
    EXPECT_EQ(drain(stream).size(), 4u);
    EXPECT_EQ(store_->counters().bytes_read, 6 * 8192u);
    EXPECT_EQ(store_->counters().failed_reads, 0u);
}

TEST_F(LandingRing, TheStoreEndsWhileHintsWaitForALanding) {
    store_->hint(std::vector<ExpertKey>{{1, 0}, {1, 1}, {1, 2}, {1, 3}});
    wait_for(2 * 8192);
    store_.reset();
}

TEST_F(LandingRing, ManyThreadsGetThrough) {
    start_device();
    std::atomic<uint64_t> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(static_cast<unsigned>(t));
            for (int round = 0; round < 60; ++round) {
                const int layer = static_cast<int>(random() % 3);
                const int begin = static_cast<int>(random() % 8);
                ExpertStream stream = store_->stream(layer, range(begin, begin + 1 + static_cast<int>(random() % 8)));
                if (random() % 8 == 0) continue;  // a caller that went away
                drain(stream, [&](const HeldExpert& held) {
                    if (held.arrived()) held.arrived()->wait();
                    wrong += held.error() || !model_.matches(layer, held);
                });
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace sluice::testing
