// A step of decoding is a list of operations over fixed addresses: the same step again takes no memory and is the same
// list, wherever a device would run it.

#include <gtest/gtest.h>

#include "backend/describe.h"
#include "model/model.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/golden_case.h"

namespace sluice::testing {
namespace {

// Hands everything on to the queued backend, and notes operations and allocations.
class RecordingBackend final : public Backend {
  public:
    std::string name() const override { return inner_->name(); }
    BufferPtr allocate(uint64_t bytes) override {
        ++allocations;
        return inner_->allocate(bytes);
    }
    BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) override {
        ++allocations;
        return inner_->adopt(bytes, std::move(owner));
    }
    std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) override {
        return inner_->make_slots(slots, slot_bytes);
    }
    void clear(const Region& region) override { inner_->clear(region); }
    void discard(const Region& region) override { inner_->discard(region); }
    void upload(const BufferPtr& target, uint64_t offset, std::span<const std::byte> source) override {
        inner_->upload(target, offset, source);
    }
    void download(const BufferPtr& source, uint64_t offset, std::span<std::byte> target) override {
        inner_->download(source, offset, target);
    }
    using Backend::copy;
    void copy(const Region& source, const Region& target) override { inner_->copy(source, target); }
    EventPtr mark() override { return inner_->mark(); }
    void after(const EventPtr& event) override { inner_->after(event); }
    void wait() override { inner_->wait(); }

    size_t allocations = 0;
    std::vector<std::string> operations;

  protected:
    void execute(const Operation& operation) override {
        operations.push_back(printer_.describe(operation));
        inner_->run(operation);
    }

  private:
    std::unique_ptr<Backend> inner_ = make_queued_backend();
    OperationPrinter printer_;
};

class DecodeStep : public ::testing::TestWithParam<GoldenCase> {
  protected:
    void SetUp() override { model_.use_experts(experts_, nullptr); }

    void evaluate(const std::vector<SequenceState*>& states, const std::vector<int32_t>& ids) {
        std::vector<ForwardInput> inputs;
        for (SequenceState* state : states) {
            inputs.push_back({.state = state, .ids = ids, .logit_rows = {static_cast<int32_t>(ids.size()) - 1}});
        }
        for (const ForwardOutput& output : model_.forward(inputs)) ASSERT_EQ(output.error, nullptr);
    }
    // One token for every state: what was done and how much memory was taken for it.
    std::vector<std::string> step(const std::vector<SequenceState*>& states, int32_t id) {
        backend_.operations.clear();
        backend_.allocations = 0;
        evaluate(states, {id});
        return backend_.operations;
    }

    RecordingBackend backend_;
    std::shared_ptr<const Checkpoint> checkpoint_ = Checkpoint::open(GetParam().folder);
    Model model_{checkpoint_, backend_, KvFormat::kBF16};
    ExpertStore experts_{checkpoint_,
                         {.cache_bytes = ExpertStore::full_bytes(*checkpoint_)},
                         [this](size_t slots, size_t bytes) { return backend_.make_slots(slots, bytes); }};
};

TEST_P(DecodeStep, AgainIsTheSameListAndTakesNoMemory) {
    const auto first = model_.new_state(), second = model_.new_state();
    const std::vector<SequenceState*> both = {first.get(), second.get()};
    evaluate({first.get()}, {11, 48, 85, 122, 7});
    evaluate({second.get()}, {5, 4, 3});
    step(both, 99);
    // The same token at another position: attention sees more, and the experts need not be the same.
    const std::vector<std::string> once = step(both, 99);
    EXPECT_GT(once.size(), 10u);
    EXPECT_EQ(backend_.allocations, 0u);
    const auto without_experts = [](std::vector<std::string> operations) {
        std::erase_if(operations, [](const std::string& text) { return text.starts_with("GatedMlp"); });
        return operations;
    };
    const std::vector<std::string> again = step(both, 99);
    EXPECT_EQ(backend_.allocations, 0u);
    EXPECT_TRUE(without_experts(once) == without_experts(again));
    if (first->recurrent()) return;  // cannot take a token back
    const auto step_anew = [&] {
        for (SequenceState* state : both) state->truncate(state->position() - 1);
        return step(both, 99);
    };
    const std::vector<std::string> all = step_anew();
    EXPECT_TRUE(step_anew() == all);
}

TEST_P(DecodeStep, TakesNoMemoryWhereAPageEnds) {
    const auto state = model_.new_state();
    evaluate({state.get()}, std::vector<int32_t>(static_cast<size_t>(kKvPageTokens) - 3, 11));
    step({state.get()}, 99);
    for (int i = 0; i < 6; ++i) {
        step({state.get()}, 99);
        EXPECT_EQ(backend_.allocations, 0u) << "at position " << state->position();
    }
    if (state->pool().has_caches()) {
        EXPECT_EQ(state->pages().size(), 2u);
    }
}

INSTANTIATE_TEST_SUITE_P(Goldens, DecodeStep, ::testing::ValuesIn(golden_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
