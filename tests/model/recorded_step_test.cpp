// Steps that a backend has recorded give what it would compute by itself.

#include <gtest/gtest.h>

#include <algorithm>

#include "model/model.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/golden_case.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_families.h"

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
    // A token of the first sequence, whose likeliest next one is told and goes on.
    std::optional<int32_t> go_on(int32_t id, int64_t likeliest_of) {
        const ForwardInput input{.state = states_[0].get(),
                                 .ids = std::span(&id, 1),
                                 .logit_rows = {0},
                                 .likeliest_of = likeliest_of,
                                 .goes_on = true};
        const std::vector<ForwardOutput> outputs = model_.forward(std::span(&input, 1));
        EXPECT_EQ(outputs[0].error, nullptr);
        return outputs[0].likeliest;
    }
    SequenceState& state() { return *states_[0]; }
    // What the first sequence keeps of fixed shape.
    std::vector<std::vector<std::byte>> fixed_parts() const {
        std::vector<std::vector<std::byte>> parts;
        std::vector<SequenceState::Block> blocks = states_[0]->save();
        for (const std::vector<StatePart>& layer : model_.state_parts()) {
            for (const StatePart& part : layer) {
                const auto block = blocks.begin();
                if (!part.grows()) parts.push_back(block->bytes);
                blocks.erase(block);
            }
        }
        return parts;
    }
    uint64_t followed() const { return model_.steps_followed(); }
    uint64_t replays() const { return replays_of(*backend_); }
    // Whether steps are the same operations wherever they are: what n-grams of tokens name is not.
    bool repeats() const {
        return std::ranges::none_of(checkpoint_->config().layers,
                                    [](const LayerConfig& layer) { return layer.ngrams.any(); });
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

void expect_equal_steps(Decoder& recorded, Decoder& plain, const std::vector<std::vector<int32_t>>& prompts) {
    (void)recorded.evaluate(prompts);
    (void)plain.evaluate(prompts);
    for (int32_t step = 0; step < kSteps; ++step) {
        const std::vector<std::vector<int32_t>> ids = {{20 + step}, {35 - step}};
        const uint64_t hits = recorded.hits();
        const auto mine = recorded.evaluate(ids), wanted = plain.evaluate(ids);
        for (size_t i = 0; i < ids.size(); ++i) {
            EXPECT_TRUE(mine[i].logits == wanted[i].logits) << "step " << step << ", sequence " << i;
        }
        EXPECT_EQ(recorded.hits() > hits, recorded.has_experts());
    }
    EXPECT_EQ(recorded.replays() > 0, recorded.repeats());
}

class RecordedStep : public ::testing::TestWithParam<GoldenCase> {
  protected:
    Decoder recorded_{GetParam().folder, make_queued_backend()}, plain_{GetParam().folder, make_reference_backend()};
    std::vector<std::vector<int32_t>> prompts_ = {{11, 48, 85, 122, 7}, {5, 4, 3}};
};

TEST_P(RecordedStep, GivesTheLogitsOfOneThatIsNot) {
    expect_equal_steps(recorded_, plain_, prompts_);
}

// Keys of runs of tokens: some are complete within these steps.
TEST(RecordedStepOfRuns, GivesTheLogitsOfOneThatIsNot) {
    for (const auto& config : {tiny_deepseek_v4_config(), tiny_glm5_next_config()}) {
        const TemporaryFolder folder;
        tiny_model(config).write(folder / "model");
        Decoder recorded(folder / "model", make_queued_backend()), plain(folder / "model", make_reference_backend());
        expect_equal_steps(recorded, plain, {{11, 4, 8, 12, 7}, {5, 4, 3}});
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

// Tokens go on as they are told, but for some in place of which another comes: what was begun with those is not seen,
// neither then nor by a copy of an earlier state.
TEST_P(RecordedStep, HandsOverTheNextStepBeforeItsTokenIsKnown) {
    constexpr int64_t kDrawable = 100;
    constexpr int kTokens = 16, kKept = 6, kOther = 5;
    const std::vector<std::vector<int32_t>> prompt = {prompts_[0]};
    (void)recorded_.evaluate(prompt);
    (void)plain_.evaluate(prompt);
    std::vector<int32_t> ids, likeliest;
    std::optional<SequenceState> kept;
    int32_t id = 20;
    for (int step = 0; step < kTokens; ++step) {
        const std::optional<int32_t> told = recorded_.go_on(id, kDrawable);
        const auto wanted = plain_.evaluate({{id}});
        const auto begin = wanted[0].logits.begin();
        ids.push_back(id);
        likeliest.push_back(static_cast<int32_t>(std::max_element(begin, begin + kDrawable) - begin));
        EXPECT_EQ(told.value_or(likeliest.back()), likeliest.back()) << "step " << step;
        if (step % 3 == 0) {
            EXPECT_TRUE(recorded_.fixed_parts() == plain_.fixed_parts()) << "step " << step;
        }
        if (step == kKept) kept = recorded_.state().fork();
        id = step % kOther == kOther - 1 ? (likeliest.back() + 3) % kDrawable : likeliest.back();
    }
    if (GetParam().folder.filename().string().starts_with("qwen3")) {
        EXPECT_GE(recorded_.followed(), kTokens / 2);
    }
    recorded_.state() = std::move(*kept);
    for (size_t step = kKept + 1; step < kTokens; ++step) {
        EXPECT_EQ(recorded_.go_on(ids[step], kDrawable), likeliest[step]) << "step " << step << " again";
    }
}

INSTANTIATE_TEST_SUITE_P(Goldens, RecordedStep, ::testing::ValuesIn(golden_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
