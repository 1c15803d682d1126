// Steps that a backend has recorded give what it would compute by itself.

#include <gtest/gtest.h>

#include <algorithm>

#include "model/model.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/golden_case.h"

namespace sluice::testing {
namespace {

constexpr int kSteps = 5;

// A model, its experts and two sequences on some backend.
class Decoder {
  public:
    Decoder(const std::filesystem::path& folder, std::unique_ptr<Backend> backend)
        : backend_(std::move(backend)),
          checkpoint_(Checkpoint::open(folder)),
          model_(checkpoint_, *backend_, KvFormat::kF32),
          experts_(checkpoint_, {.cache_bytes = ExpertStore::full_bytes(*checkpoint_)},
                   [this](size_t slots, size_t bytes) { return backend_->make_slots(slots, bytes); }) {
        model_.use_experts(experts_, nullptr);
        for (auto& state : states_) state = model_.new_state();
    }

    std::vector<ForwardOutput> evaluate(const std::vector<std::vector<int32_t>>& ids, int64_t likeliest_of = 0) {
        std::vector<ForwardInput> inputs;
        for (size_t i = 0; i < ids.size(); ++i) {
            inputs.push_back({.state = states_[i].get(),
                              .ids = ids[i],
                              .logit_rows = {static_cast<int32_t>(ids[i].size()) - 1},
                              .likeliest_of = likeliest_of});
        }
        std::vector<ForwardOutput> outputs = model_.forward(inputs);
        for (const ForwardOutput& output : outputs) EXPECT_EQ(output.error, nullptr);
        return outputs;
    }
    uint64_t hits() const { return experts_.counters().hits; }
    bool has_experts() const { return checkpoint_->config().experts() > 0; }

  private:
    std::unique_ptr<Backend> backend_;
    std::shared_ptr<const Checkpoint> checkpoint_;
    Model model_;
    ExpertStore experts_;
    std::unique_ptr<SequenceState> states_[2];
};

class RecordedStep : public ::testing::TestWithParam<GoldenCase> {
  protected:
    Decoder recorded_{GetParam().folder, make_queued_backend()}, plain_{GetParam().folder, make_reference_backend()};
    std::vector<std::vector<int32_t>> prompts_ = {{11, 48, 85, 122, 7}, {5, 4, 3}};
};

TEST_P(RecordedStep, GivesTheLogitsOfOneThatIsNot) {
    (void)recorded_.evaluate(prompts_);
    (void)plain_.evaluate(prompts_);
    for (int32_t step = 0; step < kSteps; ++step) {
        const std::vector<std::vector<int32_t>> ids = {{20 + step}, {70 - step}};
        const uint64_t hits = recorded_.hits();
        const auto mine = recorded_.evaluate(ids), wanted = plain_.evaluate(ids);
        for (size_t i = 0; i < ids.size(); ++i) {
            EXPECT_TRUE(mine[i].logits == wanted[i].logits) << "step " << step << ", sequence " << i;
        }
        EXPECT_EQ(recorded_.hits() > hits, recorded_.has_experts());
    }
}

TEST_P(RecordedStep, TellsTheLikeliestTokenAlone) {
    constexpr int64_t kDrawable = 100;
    (void)recorded_.evaluate(prompts_);
    (void)plain_.evaluate(prompts_);
    int told = 0;
    for (int32_t step = 0; step < kSteps; ++step) {
        const std::vector<std::vector<int32_t>> ids = {{20 + step}, {70 - step}};
        const auto mine = recorded_.evaluate(ids, kDrawable), wanted = plain_.evaluate(ids);
        for (size_t i = 0; i < ids.size(); ++i) {
            if (!mine[i].likeliest) continue;
            ++told;
            EXPECT_TRUE(mine[i].logits.empty());
            const auto begin = wanted[i].logits.begin();
            EXPECT_EQ(*mine[i].likeliest, std::max_element(begin, begin + kDrawable) - begin);
        }
    }
    EXPECT_GE(told, kSteps);
}

INSTANTIATE_TEST_SUITE_P(Goldens, RecordedStep, ::testing::ValuesIn(golden_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
