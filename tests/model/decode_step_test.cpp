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

TEST(DecodeStep, AgainTakesNoMemoryAndIsTheSameList) {
    size_t tried = 0;
    for (const GoldenCase& golden : golden_cases()) {
        RecordingBackend backend;
        const auto checkpoint = Checkpoint::open(golden.folder);
        Model model(checkpoint, backend, KvFormat::kBF16);
        ExpertStore experts(checkpoint, {.cache_bytes = ExpertStore::full_bytes(*checkpoint)},
                            [&](size_t slots, size_t bytes) { return backend.make_slots(slots, bytes); });
        model.use_experts(experts, nullptr);
        const auto state = model.new_state();
        if (state->recurrent()) continue;  // cannot take a token back
        ++tried;
        const auto evaluate = [&](const std::vector<int32_t>& ids) {
            const ForwardInput input{
                .state = state.get(), .ids = ids, .logit_rows = {static_cast<int32_t>(ids.size()) - 1}};
            const std::vector<ForwardOutput> outputs = model.forward(std::span(&input, 1));
            ASSERT_EQ(outputs[0].error, nullptr);
        };
        evaluate({11, 48, 85, 122, 7});
        const auto step = [&] {
            backend.operations.clear();
            backend.allocations = 0;
            evaluate({99});
            state->truncate(5);
            return backend.operations;
        };
        step();  // brings the experts that were not here yet
        const std::vector<std::string> once = step();
        EXPECT_EQ(backend.allocations, 0u) << golden.name();
        const std::vector<std::string> again = step();
        EXPECT_EQ(backend.allocations, 0u) << golden.name();
        EXPECT_GT(once.size(), 10u);
        EXPECT_EQ(once, again) << golden.name();
    }
    EXPECT_GT(tried, 2u);
}

}  // namespace
}  // namespace sluice::testing
