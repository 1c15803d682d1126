// A generation over a drive that fails, is interrupted, stops short, lies and dawdles: every step ends with an error
// that says where, or with exactly the logits of a sound drive.

#include <gtest/gtest.h>

#include <optional>

#include "model/model.h"
#include "sluice/pack.h"
#include "tests/experts/support.h"
#include "tests/support/source_file.h"

namespace sluice::testing {
namespace {

constexpr size_t kTokens = 24;

std::vector<int32_t> tokens_of(size_t sequence) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < kTokens; ++i) ids.push_back(static_cast<int32_t>((i * 29 + sequence * 101 + 3) % 512));
    return ids;
}

// A sequence that is evaluated token by token and tries again after a failure.
struct Sequence {
    std::vector<int32_t> ids;
    std::vector<std::vector<float>> expected;  // logits after each token
    std::unique_ptr<SequenceState> state;
    std::optional<SequenceState> before;  // the step under way
    size_t done = 0;
};

void check_message(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const Error& error) {
        const std::string text = error.what();
        EXPECT_EQ(error.code(), ErrorCode::kIo) << text;
        EXPECT_NE(text.find("offset"), std::string::npos) << text;
        EXPECT_NE(text.find("expert"), std::string::npos) << text;
        EXPECT_TRUE(text.starts_with("file ") || text.find(".safetensors") != std::string::npos) << text;
    }
}

struct Case {
    const char* name;
    const char* golden;
    size_t faults;
};

class GenerationFaults : public ::testing::TestWithParam<Case> {
  protected:
    GenerationFaults() {
        pack(std::filesystem::path(sluice::testing::source_file("/tests/data/goldens")) / GetParam().golden,
             folder_ / "packed", {});
        checkpoint_ = Checkpoint::open(folder_ / "packed");
        model_ = std::make_unique<Model>(checkpoint_, *backend_, KvFormat::kBF16);
    }

    ExpertStore::MakeSlots make_slots() {
        return [this](size_t slots, size_t bytes) { return backend_->make_slots(slots, bytes); };
    }

    static FaultyReader::Source source_of_files(const ExpertCatalogue& catalogue) {
        auto files = std::make_shared<std::vector<File>>();
        for (const auto& path : catalogue.files) files->push_back(File::open(path));
        return [files](const ReadRequest& request) {
            (*files)[request.file].read_at(request.offset, {request.destination, request.bytes});
        };
    }

    void record_expected(std::vector<Sequence>& sequences) {
        ExpertStore store(checkpoint_, {.cache_bytes = ExpertStore::full_bytes(*checkpoint_)}, make_slots());
        model_->use_experts(store, nullptr);
        for (Sequence& sequence : sequences) {
            const auto state = model_->new_state();
            for (const int32_t id : sequence.ids) {
                const ForwardInput input{.state = state.get(), .ids = {&id, 1}, .logit_rows = {0}};
                sequence.expected.push_back(model_->forward(std::span(&input, 1))[0].logits);
            }
        }
    }

    // One token of every sequence. Returns how many failed.
    size_t step(std::vector<Sequence>& sequences) {
        std::vector<ForwardInput> inputs;
        for (Sequence& sequence : sequences) {
            if (sequence.state == nullptr || sequence.done == kTokens) {
                sequence.state = model_->new_state();
                sequence.done = 0;
            }
            sequence.before.emplace(sequence.state->fork());
            inputs.push_back({.state = sequence.state.get(),
                              .ids = std::span(sequence.ids).subspan(sequence.done, 1),
                              .logit_rows = {0}});
        }
        const std::vector<ForwardOutput> outputs = model_->forward(inputs);
        size_t failed = 0;
        for (size_t i = 0; i < outputs.size(); ++i) {
            Sequence& sequence = sequences[i];
            if (outputs[i].error) {
                ++failed;
                check_message(outputs[i].error);
                *sequence.state = std::move(*sequence.before);
            } else {
                EXPECT_TRUE(outputs[i].logits == sequence.expected[sequence.done]) << "a wrong token";
                ++sequence.done;
            }
        }
        return failed;
    }

    const TemporaryFolder folder_;
    const std::unique_ptr<Backend> backend_ = make_cpu_backend({.threads = 2});
    std::shared_ptr<const Checkpoint> checkpoint_;
    std::unique_ptr<Model> model_;
};

TEST_P(GenerationFaults, NeverGiveAWrongToken) {
    std::vector<Sequence> sequences(2);
    for (size_t i = 0; i < sequences.size(); ++i) sequences[i].ids = tokens_of(i);
    record_expected(sequences);

    ExpertCatalogue catalogue = ExpertCatalogue::of(checkpoint_);
    const FaultyReader::Source source = source_of_files(catalogue);
    const Faults faults{
        .error = 0.06, .interrupted = 0.06, .short_read = 0.06, .wrong_byte = 0.06, .stall = 0.0002, .delay = 0.001};
    ExpertStoreOptions options;
    options.cache_bytes = 2 * ExpertStore::floor_bytes(*checkpoint_);  // of two sequences: no more
    options.verify_every_read = true;
    options.look_ahead = When::kOn;
    options.stall_seconds_allowed = 0.05;
    FaultyReader* reader = nullptr;
    ExpertStore store(std::move(catalogue), options, make_slots(), [&](Reader::Completed completed) {
        auto made = std::make_unique<FaultyReader>(source, faults, 3, std::move(completed));
        reader = made.get();
        return made;
    });
    model_->use_experts(store, nullptr);

    size_t failed = 0, steps = 0;
    while (reader->faults() < GetParam().faults && !HasFailure()) {
        failed += step(sequences);
        ++steps;
    }
    EXPECT_GT(failed, GetParam().faults / 10);
    EXPECT_LT(failed, 2 * steps) << "some steps must have succeeded";
    EXPECT_GT(store.counters().failed_reads, GetParam().faults / 2);

    // The drive recovers: so does everything, and no slot is lost.
    reader->heal();
    for (size_t i = 0; i < kTokens; ++i) {
        const size_t still_failed = step(sequences);
        EXPECT_TRUE(still_failed == 0 || i < 2) << "only reads that were under way may still fail";
    }
    const int per_token = static_cast<int>(checkpoint_->config().experts_per_token());
    ExpertStream first = store.stream(0, range(0, per_token));
    ExpertStream second = store.stream(1, range(0, per_token));
    std::vector<HeldExpert> held;
    for (ExpertStream* stream : {&first, &second}) {
        for (auto ready = stream->next(); !ready.empty(); ready = stream->next()) {
            for (HeldExpert& expert : ready) {
                if (!expert.error()) held.push_back(std::move(expert));
            }
        }
    }
    EXPECT_EQ(held.size(), static_cast<size_t>(2 * per_token)) << "every slot of the cache at once";
}

// A prompt reads its next layer's experts ahead: what fails there is read again, and nothing else goes wrong.
TEST_P(GenerationFaults, NeverGiveAPromptAWrongToken) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 96; ++i) ids.push_back(i * 37 % 512);
    const auto evaluate = [&] {
        const auto state = model_->new_state();
        const ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {95}};
        return model_->forward(std::span(&input, 1))[0];
    };
    std::vector<float> expected;
    {
        ExpertStore store(checkpoint_, {.cache_bytes = ExpertStore::full_bytes(*checkpoint_)}, make_slots());
        model_->use_experts(store, nullptr);
        expected = evaluate().logits;
    }
    ExpertCatalogue catalogue = ExpertCatalogue::of(checkpoint_);
    const FaultyReader::Source source = source_of_files(catalogue);
    ExpertStoreOptions options;
    options.cache_bytes = ExpertStore::full_bytes(*checkpoint_) / 2;
    options.verify_every_read = true;
    options.look_ahead = When::kAuto;
    FaultyReader* reader = nullptr;
    ExpertStore store(std::move(catalogue), options, make_slots(), [&](Reader::Completed completed) {
        auto made = std::make_unique<FaultyReader>(source, Faults{.error = 0.004, .short_read = 0.004, .delay = 0.01},
                                                   3, std::move(completed));
        reader = made.get();
        return made;
    });
    model_->use_experts(store, nullptr);
    size_t right = 0, failed = 0;
    while (reader->faults() < GetParam().faults / 20 && !HasFailure()) {
        const ForwardOutput output = evaluate();
        if (output.error) {
            ++failed;
            check_message(output.error);
        } else {
            ++right;
            EXPECT_TRUE(output.logits == expected) << "a wrong token";
        }
    }
    EXPECT_GT(failed, 0u);
    EXPECT_GT(right, 0u);
    EXPECT_GT(store.counters().prefetch_hits, 0u);
    reader->heal();
    EXPECT_FALSE(evaluate().error);
}

INSTANTIATE_TEST_SUITE_P(Models, GenerationFaults,
                         ::testing::Values(Case{"attention", "qwen3-moe-mlx4", 10000},
                                           Case{"recurrent", "qwen3-next-bf16", 2000}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace sluice::testing
