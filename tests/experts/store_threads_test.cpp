// Many threads on one store at once.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>

#include "tests/experts/support.h"

namespace sluice::testing {
namespace {

// The floor is enough for any number of threads, with batches larger than the cache and callers that hold what they
// may.
TEST(ExpertStore, ManyThreadsGetThroughTheSmallestCache) {
    const FileModel model({.record_bytes = {4096, 8192, 0, 4096}, .top_k = 3});
    PausableStore paused(model, 3 + 6);  // floor: 3 of each size
    EXPECT_EQ(model.catalogue().record_sizes().size(), 2u);
    std::atomic<uint64_t> wrong{0}, total{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(static_cast<unsigned>(t));
            for (int round = 0; round < 60; ++round) {
                const int layer = std::array{0, 1, 3}[random() % 3];
                std::vector<int> ids = range(0, 16);
                std::shuffle(ids.begin(), ids.end(), random);
                ids.resize(1 + random() % 16);
                ExpertStream stream = paused.store->stream(layer, ids);
                if (random() % 8 == 0) continue;  // a caller that went away
                std::vector<HeldExpert> kept;
                size_t got = 0;
                while (true) {
                    auto batch = stream.next();
                    if (batch.empty()) break;
                    for (HeldExpert& ready : batch) {
                        wrong += ready.error() || !model.matches(layer, ready);
                        kept.push_back(std::move(ready));
                        ++got;
                    }
                    // Holds one token's experts while it waits, as the contract allows.
                    const size_t allowed = std::min<size_t>(ids.size(), 3);
                    while (kept.size() > (random() % 2 == 0 ? allowed : 0)) {
                        kept.erase(kept.begin());
                    }
                    if (kept.size() == allowed && got < ids.size()) {
                        kept.erase(kept.begin());
                    }
                }
                wrong += got != ids.size();
                total += got;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
    const auto stats = paused.store->counters();
    EXPECT_GE(stats.hits + stats.misses, total);
}

TEST(ExpertStore, ResizesWhileItWorks) {
    const FileModel model({.top_k = 3});
    PausableStore paused(model, 30);
    std::atomic<uint64_t> wrong{0};
    std::atomic<int> working{3};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(static_cast<unsigned>(t));
            for (int round = 0; round < 200; ++round) {
                const int layer = static_cast<int>(random() % 3);
                const int begin = static_cast<int>(random() % 8);
                ExpertStream stream =
                    paused.store->stream(layer, range(begin, begin + 3 + static_cast<int>(random() % 5)));
                drain(stream, [&](const HeldExpert& ready) { wrong += ready.error() || !model.matches(layer, ready); });
            }
            --working;
        });
    }
    for (size_t slots = 3; working > 0; slots = slots % 30 + 3) paused.store->resize(model.bytes_of(slots));
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
}

// As prompts do it: each thread goes from layer to layer and keeps what it read ahead until the layer is done.
TEST(ExpertStore, ReadsAheadInManyThreadsWhileItIsResized) {
    const FileModel model({.top_k = 3});
    PausableStore paused(model, 30);
    std::atomic<uint64_t> wrong{0};
    std::atomic<int> working{4};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(static_cast<unsigned>(t));
            std::optional<ExpertStream> ahead;
            for (int step = 0; step < 300; ++step) {
                ExpertStream stream =
                    paused.store->stream(step % 3, range(static_cast<int>(random() % 8), 16), ExpertUse::kScan);
                std::optional<ExpertStream> read_before = std::move(ahead);
                ahead.reset();
                if (!stream.admitted()) read_before.reset();
                drain(stream,
                      [&](const HeldExpert& ready) { wrong += ready.error() || !model.matches(step % 3, ready); });
                ahead.emplace(paused.store->hint_scan((step + 1) % 3, range(static_cast<int>(random() % 12), 16)));
            }
            --working;
        });
    }
    for (size_t slots = 3; working > 0; slots = slots % 30 + 3) paused.store->resize(model.bytes_of(slots));
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(paused.store->counters().prefetch_hits, 0u);
}

}  // namespace
}  // namespace sluice::testing
