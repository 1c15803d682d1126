// A drive that does not answer any more: a request learns of it once, and whoever needs nothing of it goes on.

#include <gtest/gtest.h>

#include <numeric>
#include <optional>

#include "base/clock.h"
#include "model/model.h"
#include "tests/experts/support.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

constexpr double kAllowed = 0.4;  // seconds of silence

class GoneDrive : public ::testing::Test {
  protected:
    void SetUp() override {
        checkpoint_ = Checkpoint::open(source_file("/models/stories-hybrid"));
        ASSERT_GE(checkpoint_->config().layer_count(), 6);
        model_ = std::make_unique<Model>(checkpoint_, *backend_, KvFormat::kBF16);
        ExpertCatalogue catalogue = ExpertCatalogue::of(checkpoint_);
        auto files = std::make_shared<std::vector<File>>();
        for (const auto& path : catalogue.files) files->push_back(File::open(path));
        const auto source = [files](const ReadRequest& request) {
            (*files)[request.file].read_at(request.offset, {request.destination, request.bytes});
        };
        const ExpertStoreOptions options{.cache_bytes = catalogue.all_bytes(), .stall_seconds_allowed = kAllowed};
        store_.emplace(
            std::move(catalogue), options,
            [this](size_t slots, size_t bytes) { return backend_->make_slots(slots, bytes); },
            [&](Reader::Completed completed) {
                auto made = std::make_unique<FaultyReader>(source, Faults{}, 2, std::move(completed));
                reader_ = made.get();
                return made;
            });
        model_->use_experts(*store_, nullptr);
    }

    // New sequences, of these tokens each.
    std::vector<ForwardOutput> evaluate(std::span<const std::vector<int32_t>> sequences) {
        std::vector<std::unique_ptr<SequenceState>> states;
        std::vector<ForwardInput> inputs;
        for (const std::vector<int32_t>& ids : sequences) {
            states.push_back(model_->new_state());
            inputs.push_back({.state = states.back().get(), .ids = ids, .logit_rows = {0}});
        }
        return model_->forward(inputs);
    }

    const std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 1});
    std::shared_ptr<const Checkpoint> checkpoint_;
    std::unique_ptr<Model> model_;
    std::optional<ExpertStore> store_;
    FaultyReader* reader_ = nullptr;
};

TEST_F(GoneDrive, IsWaitedForOnceNotInEveryLayer) {
    reader_->pause();
    const std::vector<int32_t> token{17};
    EXPECT_TRUE(evaluate(std::span(&token, 1))[0].error);
    EXPECT_GE(store_->counters().stall_seconds, kAllowed);
    EXPECT_LT(store_->counters().stall_seconds, 2 * kAllowed);
}

TEST_F(GoneDrive, IsWaitedForOnceByALongPromptToo) {
    reader_->pause();
    std::vector<int32_t> prompt(200);
    std::iota(prompt.begin(), prompt.end(), 100);
    EXPECT_TRUE(evaluate(std::span(&prompt, 1))[0].error);
    EXPECT_LT(store_->counters().stall_seconds, 2 * kAllowed);
    reader_->resume();
    EXPECT_FALSE(evaluate(std::span(&prompt, 1))[0].error) << "it came back";
}

TEST_F(GoneDrive, FailsOnlyWhoNeedsIt) {
    const std::vector<std::vector<int32_t>> both{{17}, {901}};
    const std::vector<float> expected = evaluate(std::span(both).first(1))[0].logits;
    reader_->pause();
    const ExpertCounters before = store_->counters();
    const std::vector<ForwardOutput> outputs = evaluate(both);
    EXPECT_TRUE(outputs[1].error);
    ASSERT_FALSE(outputs[0].error) << "all of its experts are here";
    EXPECT_TRUE(outputs[0].logits == expected);
    const ExpertCounters spent = store_->counters() - before;
    EXPECT_LE(spent.misses, static_cast<uint64_t>(checkpoint_->config().experts_per_token()))
        << "a row that has failed is not read for";
    EXPECT_LT(spent.stall_seconds, 2 * kAllowed);
}

}  // namespace
}  // namespace sluice::testing
