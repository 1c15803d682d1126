// A cache whose size changes while the model runs on it: what the governor does under pressure.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "model/model.h"
#include "tests/support/golden_case.h"

namespace sluice::testing {
namespace {

class ResizedCache : public ::testing::TestWithParam<GoldenCase> {
  protected:
    // Greedy tokens' logits, one token at a time; `resizing`: the cache goes up and down all the while.
    std::vector<float> generate(bool resizing) {
        const auto checkpoint = Checkpoint::open(GetParam().folder);
        const auto backend = make_cpu_backend({.threads = 2});
        Model model(checkpoint, *backend, KvFormat::kBF16);
        const uint64_t floor = ExpertStore::floor_bytes(*checkpoint);
        const uint64_t full = ExpertStore::full_bytes(*checkpoint);
        ExpertStore store(checkpoint, {.cache_bytes = full},
                          [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); });
        model.use_experts(store, nullptr);
        std::atomic<bool> done{false};
        std::thread governor([&] {
            for (uint64_t turn = 0; resizing && !done; ++turn) {
                store.resize(floor + (full - floor) * (turn % 4) / 3);
                std::this_thread::sleep_for(std::chrono::microseconds(300));
            }
        });
        const auto state = model.new_state();
        std::vector<float> all;
        std::vector<int32_t> ids = load_reference(GetParam()).ids;
        for (int step = 0; step < 24; ++step) {
            const ForwardInput input{
                .state = state.get(), .ids = ids, .logit_rows = {static_cast<int32_t>(ids.size()) - 1}};
            const std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
            EXPECT_FALSE(outputs[0].error);
            const std::vector<float>& logits = outputs[0].logits;
            all.insert(all.end(), logits.begin(), logits.end());
            ids = {static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
        }
        done = true;
        governor.join();
        return all;
    }
};

TEST_P(ResizedCache, ChangesNoBit) {
    const std::vector<float> expected = generate(false);
    EXPECT_TRUE(generate(true) == expected);
}

INSTANTIATE_TEST_SUITE_P(All, ResizedCache, ::testing::ValuesIn(golden_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
