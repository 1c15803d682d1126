// Steps that take experts from the device's memory and the host's by themselves, while others come and go.

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "model/host_experts.h"
#include "model/model.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

constexpr int kSteps = 24;

// A model on a device that is late, with so many records there and the rest in the host's memory.
class Reaching {
  public:
    Reaching(const std::filesystem::path& folder, size_t records, bool all_on_device = false)
        : checkpoint_(Checkpoint::open(folder)), model_(checkpoint_, *backend_, KvFormat::kF32) {
        const uint64_t full = ExpertStore::full_bytes(*checkpoint_);
        ExpertStoreOptions options{.cache_bytes = all_on_device ? full : records * record_bytes()};
        options.host.make = [this](size_t slots, size_t bytes) { return backend_->make_host_slots(slots, bytes); };
        if (!all_on_device) options.host.bytes = full;
        store_ = std::make_unique<ExpertStore>(
            checkpoint_, options, [this](size_t slots, size_t bytes) { return backend_->make_slots(slots, bytes); });
        model_.use_experts(*store_, nullptr);
        for (auto& state : states_) state = model_.new_state();
    }

    uint64_t record_bytes() const {
        return ExpertStore::floor_bytes(*checkpoint_) /
               static_cast<uint64_t>(checkpoint_->config().experts_per_token());
    }
    // Of both sequences.
    std::vector<float> evaluate(const std::vector<std::vector<int32_t>>& ids) {
        std::vector<ForwardInput> inputs;
        for (size_t i = 0; i < ids.size(); ++i) {
            inputs.push_back(
                {.state = states_[i].get(), .ids = ids[i], .logit_rows = {static_cast<int32_t>(ids[i].size()) - 1}});
        }
        std::vector<float> logits;
        for (const ForwardOutput& output : model_.forward(inputs)) {
            EXPECT_EQ(output.error, nullptr);
            logits.insert(logits.end(), output.logits.begin(), output.logits.end());
        }
        return logits;
    }
    ExpertStore& store() { return *store_; }
    // Before the first step: the host computes what its memory holds and the device's does not.
    void compute_on_host(std::optional<ExpertCosts> costs) {
        host_experts_ = std::make_unique<HostExperts>(*checkpoint_, *host_, *store_, costs);
        model_.use_experts(*store_, nullptr, host_experts_.get());
    }

  private:
    std::unique_ptr<Backend> backend_ = make_queued_backend(), host_ = make_reference_backend();
    std::shared_ptr<const Checkpoint> checkpoint_;
    Model model_;
    std::unique_ptr<ExpertStore> store_;
    std::unique_ptr<HostExperts> host_experts_;
    std::unique_ptr<SequenceState> states_[2];
};

class ReachedStep : public ::testing::TestWithParam<const char*> {
  protected:
    const std::filesystem::path folder_ = std::filesystem::path(source_file("/tests/data/goldens")) / GetParam();
    static std::vector<std::vector<int32_t>> step_ids(int32_t step) {
        return {{20 + step * 17 % 90}, {200 - step * 31 % 150}};
    }
    const std::vector<std::vector<int32_t>> prompts_ = {{11, 48, 85, 122, 7}, {5, 4, 3}};
};

TEST_P(ReachedStep, HasTheBitsOfOneWithAllOnTheDevice) {
    Reaching reaching(folder_, 20), resident(folder_, 0, true);
    ASSERT_EQ(reaching.evaluate(prompts_), resident.evaluate(prompts_));
    for (int32_t step = 0; step < kSteps; ++step) {
        const auto ids = step % 9 == 8 ? prompts_ : step_ids(step);
        ASSERT_EQ(reaching.evaluate(ids), resident.evaluate(ids)) << "step " << step;
    }
    const ExpertCounters counters = reaching.store().counters();
    EXPECT_GT(counters.reached_bytes, 0u);
    EXPECT_GT(counters.copies, 0u);
    EXPECT_EQ(counters.failed_reads, 0u);
    EXPECT_LE(counters.reads, ExpertStore::full_bytes(*Checkpoint::open(folder_)) / reaching.record_bytes());
}

// What is chosen again is on the device by then.
TEST_P(ReachedStep, BringsToTheDeviceWhatIsChosen) {
    Reaching reaching(folder_, 40);
    for (int32_t step = 0; step < 6; ++step) (void)reaching.evaluate({{7}, {7}});
    const ExpertCounters before = reaching.store().counters();
    for (int32_t step = 0; step < 12; ++step) (void)reaching.evaluate({{7}, {7}});
    const ExpertCounters spent = reaching.store().counters() - before;
    EXPECT_GT(spent.hits, 3 * spent.host_hits);
    EXPECT_EQ(spent.misses, 0u);
}

// Of one row, what is chosen comes by itself, and stays.
TEST_P(ReachedStep, OfOneRowFetchesWhatItWillChoose) {
    Reaching reaching(folder_, 20), resident(folder_, 0, true);
    ASSERT_EQ(reaching.evaluate({{11, 48, 85}}), resident.evaluate({{11, 48, 85}}));
    for (int32_t step = 0; step < 2 * kSteps; ++step) {
        // Now and then another kind of pass takes the slots back.
        std::vector<std::vector<int32_t>> ids = step % 13 == 12 ? prompts_ : step_ids(step);
        if (step % 13 != 12) ids.resize(1);
        ASSERT_EQ(reaching.evaluate(ids), resident.evaluate(ids)) << "step " << step;
    }
    const ExpertCounters before = reaching.store().counters();
    for (int32_t step = 0; step < 12; ++step) (void)reaching.evaluate({{7}});
    const ExpertCounters spent = reaching.store().counters() - before;
    EXPECT_GT(spent.hits, spent.host_hits);
    EXPECT_EQ(spent.misses, 0u);
}

// Whoever computes an expert: here, as the device does.
TEST_P(ReachedStep, HasTheSameBitsWithSomeComputedOnTheHost) {
    for (const bool always : {true, false}) {
        Reaching with_host(folder_, 20), resident(folder_, 0, true);
        with_host.compute_on_host(always ? std::nullopt : std::optional(ExpertCosts{.copy = 2, .compute = 1}));
        ASSERT_EQ(with_host.evaluate(prompts_), resident.evaluate(prompts_));
        for (int32_t step = 0; step < kSteps; ++step) {
            ASSERT_EQ(with_host.evaluate(step_ids(step)), resident.evaluate(step_ids(step))) << "step " << step;
        }
        const ExpertCounters counters = with_host.store().counters();
        EXPECT_GT(counters.host_hits, counters.copies);
        EXPECT_EQ(counters.reached_bytes, 0u);
    }
}

TEST(HostExperts, AreAsManyAsAreDoneBeforeTheCopiesOfOthers) {
    EXPECT_EQ(computed_on_host({.copy = 1, .compute = 1, .begin = 0}, 8), 4u);
    EXPECT_EQ(computed_on_host({.copy = 1, .compute = 1, .begin = 8}, 8), 0u);
    EXPECT_EQ(computed_on_host({.copy = 10, .compute = 1, .begin = 2}, 8), 7u);
    EXPECT_EQ(computed_on_host({.copy = 1, .compute = 1, .begin = 0}, 0), 0u);
}

// A pass that needs nearly all experts of a layer has them copied ahead, some read where they are.
TEST(ReachedPrompt, HasExpertsCopiedAhead) {
    const std::filesystem::path folder = source_file("/tests/data/goldens/qwen3_5-moe-mlx3");
    std::vector<int32_t> prompt;
    for (int32_t i = 0; i < 512; ++i) prompt.push_back(i * 37 % 400);
    Reaching resident(folder, 0, true), reaching(folder, 20);
    const auto both = [&](const std::vector<std::vector<int32_t>>& ids) {
        ASSERT_EQ(reaching.evaluate(ids), resident.evaluate(ids));
    };
    for (int32_t step = 0; step < 3; ++step) both({{20 + step}, {70 - step}});
    const ExpertCounters before = reaching.store().counters();
    both({prompt, {3, 4, 5}});
    const ExpertCounters spent = reaching.store().counters() - before;
    EXPECT_GT(spent.copies, 0u);
    EXPECT_GT(spent.reached_bytes, 0u);
    EXPECT_EQ(spent.reads, 0u);
    EXPECT_EQ(spent.misses, 0u);
    for (int32_t step = 0; step < 3; ++step) both({{20 + step}, {70 - step}});
}

// The host's memory goes and comes between steps, as another thread has it.
TEST_P(ReachedStep, AsksTheHostWhileItsTierIsSmaller) {
    Reaching reaching(folder_, 20), resident(folder_, 0, true);
    for (int32_t step = 0; step < kSteps; ++step) {
        if (step % 6 == 3) reaching.store().resize_host(5 * reaching.record_bytes());
        if (step % 6 == 5) reaching.store().resize_host(UINT64_MAX);
        ASSERT_EQ(reaching.evaluate(step_ids(step)), resident.evaluate(step_ids(step))) << "step " << step;
    }
}

std::string name_of_golden(const ::testing::TestParamInfo<const char*>& golden) {
    std::string name = golden.param;
    std::ranges::replace(name, '-', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Goldens, ReachedStep,
                         ::testing::Values("qwen3-moe-mlx4", "qwen3_5-moe-mlx3", "deepseek-v3-mlx4"), name_of_golden);

}  // namespace
}  // namespace sluice::testing
