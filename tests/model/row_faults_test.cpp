// A generation whose n-gram tables lie on a drive that fails: a step ends with an error that says which row of which
// table, for the sequence that needed it alone, or with exactly the logits of a sound drive.

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/model.h"
#include "tests/experts/support.h"
#include "tests/support/tiny_families.h"

namespace sluice::testing {
namespace {

class RowFaults : public ::testing::Test {
  protected:
    RowFaults() {
        tiny_model(tiny_qwen4_exp_config()).write(folder_ / "model");
        checkpoint_ = Checkpoint::open(folder_ / "model");
        model_ = std::make_unique<Model>(checkpoint_, *backend_, KvFormat::kF32);
        store_ = std::make_unique<ExpertStore>(
            checkpoint_, ExpertStoreOptions{.cache_bytes = uint64_t{64} << 20},
            [this](size_t slots, size_t bytes) { return backend_->make_slots(slots, bytes); });
        model_->use_experts(*store_, nullptr);
    }

    void read_rows_with(const Faults& faults) {
        tables_.clear();
        readers_.clear();
        for (const int layer : {0, 1}) {
            const RowTableFiles files = RowTableFiles::of(*checkpoint_, layer);
            auto opened = std::make_shared<std::vector<File>>();
            for (const auto& path : files.paths) opened->push_back(File::open(path));
            tables_[layer] = std::make_unique<RowTable>(
                files, RowTableOptions{.stall_seconds_allowed = 1}, [&](Reader::Completed completed) {
                    const auto source = [opened](const ReadRequest& request) {
                        (*opened)[request.file].read_at(request.offset, {request.destination, request.bytes});
                    };
                    auto made = std::make_unique<FaultyReader>(source, faults, 2, std::move(completed));
                    readers_.push_back(made.get());
                    return made;
                });
        }
        model_->use_row_tables(tables_);
    }

    std::vector<ForwardOutput> forward(const std::vector<SequenceState*>& states,
                                       const std::vector<std::vector<int32_t>>& ids) {
        std::vector<ForwardInput> inputs;
        for (size_t s = 0; s < states.size(); ++s) {
            inputs.push_back({.state = states[s],
                              .ids = ids[s],
                              .logit_rows = {static_cast<int32_t>(ids[s].size()) - 1},
                              .hidden = false});
        }
        return model_->forward(inputs);
    }

    const TemporaryFolder folder_;
    const std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 2});
    std::shared_ptr<const Checkpoint> checkpoint_;
    std::unique_ptr<ExpertStore> store_;
    RowTables tables_;
    std::vector<FaultyReader*> readers_;
    std::unique_ptr<Model> model_;
};

std::vector<int32_t> prompt_of(int32_t seed) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 12; ++i) ids.push_back((i * i * 5 + seed * 11) % 40);
    return ids;
}

void check_row_message(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const Error& error) {
        const std::string text = error.what();
        EXPECT_EQ(error.code(), ErrorCode::kIo) << text;
        EXPECT_NE(text.find("offset"), std::string::npos) << text;
        EXPECT_NE(text.find("of the n-gram table of layer "), std::string::npos) << text;
    }
}

TEST_F(RowFaults, FailTheSequencesThatNeededTheRows) {
    std::vector<std::vector<float>> expected;
    for (int32_t seed = 0; seed < 8; ++seed) {
        const auto state = model_->new_state();
        expected.push_back(forward({state.get()}, {prompt_of(seed)}).front().logits);
    }
    size_t failed = 0, passed = 0, apart = 0;
    for (int32_t round = 0; round < 200 && !HasFailure(); ++round) {
        // Tables that were opened anew keep no rows.
        if (round % 10 == 0) {
            const auto seed = static_cast<uint64_t>(round);
            read_rows_with({.error = 0.02, .interrupted = 0.01, .short_read = 0.02, .delay = 0.001, .seed = seed});
        }
        const int32_t first = round % 8, second = (round + 3) % 8;
        const auto a = model_->new_state(), b = model_->new_state();
        const std::vector<ForwardOutput> outputs = forward({a.get(), b.get()}, {prompt_of(first), prompt_of(second)});
        apart += (outputs[0].error == nullptr) != (outputs[1].error == nullptr);
        for (size_t s = 0; s < 2; ++s) {
            if (outputs[s].error) {
                ++failed;
                check_row_message(outputs[s].error);
            } else {
                ++passed;
                EXPECT_TRUE(outputs[s].logits == expected[static_cast<size_t>(s == 0 ? first : second)]);
            }
        }
    }
    EXPECT_GT(failed, 20u);
    EXPECT_GT(passed, 20u);
    EXPECT_GT(apart, 5u) << "one fails, the other does not";
}

TEST_F(RowFaults, ASilentDriveEndsThePass) {
    const auto expected_state = model_->new_state();
    const std::vector<float> expected = forward({expected_state.get()}, {prompt_of(1)}).front().logits;
    read_rows_with({});
    for (FaultyReader* reader : readers_) reader->pause();
    const auto state = model_->new_state();
    const ForwardOutput silent = std::move(forward({state.get()}, {prompt_of(1)}).front());
    ASSERT_NE(silent.error, nullptr);
    check_row_message(silent.error);
    EXPECT_EQ(state->position(), 0);
    for (FaultyReader* reader : readers_) reader->resume();
    const auto again = model_->new_state();
    EXPECT_TRUE(forward({again.get()}, {prompt_of(1)}).front().logits == expected);
}

}  // namespace
}  // namespace sluice::testing
