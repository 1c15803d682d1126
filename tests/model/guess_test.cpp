// What a prompt's layer has read ahead for the next one.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/feed_forward.h"
#include "model/model.h"
#include "tests/experts/support.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_families.h"

namespace sluice::testing {
namespace {

// The next layer, which lets the drive go on once it was asked.
class AskedLayer final : public FeedForward {
  public:
    AskedLayer(std::unique_ptr<FeedForward> layer, FaultyReader& reader) : layer_(std::move(layer)), reader_(reader) {}
    void run(Backend&, Batch&, ExpertFeed&, const FeedForwardInput&, const BlockOutput&, Workspace&) const override {}
    void take_scratch(int64_t, Workspace&) const override {}
    std::vector<ExpertKey> guess(Backend& backend, const Tensor& x, size_t least_rows,
                                 Workspace& workspace) const override {
        named_by_any_ = layer_->guess(backend, x, 1, workspace).size();
        std::vector<ExpertKey> guessed = layer_->guess(backend, x, least_rows, workspace);
        reader_.resume();
        return guessed;
    }
    size_t named_by_any() const { return named_by_any_; }

  private:
    std::unique_ptr<FeedForward> layer_;
    FaultyReader& reader_;
    mutable size_t named_by_any_ = 0;
};

TEST(Guess, OfAPromptIsWhatSeveralRowsName) {
    const auto checkpoint = Checkpoint::open(source_file("/models/stories-hybrid"));
    const auto backend = make_cpu_backend({.threads = 1});
    const ModelConfig& config = checkpoint->config();
    const auto top_k = static_cast<size_t>(config.experts_per_token());
    ExpertCatalogue catalogue = ExpertCatalogue::of(checkpoint);
    auto files = std::make_shared<std::vector<File>>();
    for (const auto& path : catalogue.files) files->push_back(File::open(path));
    const auto source = [files](const ReadRequest& request) {
        (*files)[request.file].read_at(request.offset, {request.destination, request.bytes});
    };
    const ExpertStoreOptions options{
        .cache_bytes = catalogue.all_bytes(), .look_ahead = When::kOn, .stall_seconds_allowed = 10};
    FaultyReader* reader = nullptr;
    ExpertStore store(
        std::move(catalogue), options, [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); },
        [&](Reader::Completed completed) {
            auto made = std::make_unique<FaultyReader>(source, Faults{}, 2, std::move(completed));
            reader = made.get();
            return made;
        });
    Trunk trunk(*checkpoint, *backend);
    const auto make = [&](int layer) {
        return make_feed_forward(std::get<MixtureConfig>(config.layers[static_cast<size_t>(layer)].feed_forward),
                                 {.checkpoint = *checkpoint, .layer = layer}, trunk);
    };
    const auto block = make(0);
    const AskedLayer next(make(1), *reader);

    // Two rows alike, one of its own.
    constexpr int64_t kRows = 3;
    const int64_t hidden = config.hidden_size;
    std::vector<float> rows;
    for (const double turn : {0.7, 0.7, 2.3}) {
        for (int64_t i = 0; i < hidden; ++i)
            rows.push_back(static_cast<float>(std::sin(turn * static_cast<double>(i))));
    }
    const Tensor x = trunk.upload(rows, hidden);
    const Tensor out = trunk.upload(std::vector<float>(rows.size()), hidden);
    const std::vector<float> ones(static_cast<size_t>(hidden), 1.0f);
    Batch batch;
    batch.rows = kRows;
    batch.sequences = {{.first_row = 0, .count = kRows}};
    batch.errors.resize(1);
    ExpertFeed feed{.store = &store,
                    .trace = nullptr,
                    .next = {.block = &next, .norm = trunk.upload(ones, hidden), .norm_epsilon = 1e-6f},
                    .hinted = {}};
    Workspace workspace(*backend);
    reader->pause();
    block->run(*backend, batch, feed, {.x = x, .residual = x}, {.rows = out}, workspace);
    backend->wait();
    ASSERT_EQ(batch.errors[0], nullptr);
    ASSERT_GT(next.named_by_any(), top_k) << "the rows must differ";
    EXPECT_TRUE(feed.hinted);
    EXPECT_EQ(store.counters().prefetch_reads, top_k) << "those of the two rows that agree";
}

// The first layer of this model takes its experts from a table.
TEST(Guess, WhatTokensDecideIsReadBeforeTheFirstLayer) {
    const TemporaryFolder folder;
    tiny_model(tiny_deepseek_v4_config()).write(folder / "model");
    const auto checkpoint = Checkpoint::open(folder / "model");
    const auto backend = make_cpu_backend({.threads = 1});
    const std::vector<int32_t> prompt = {3, 14, 15, 9, 26, 5}, token = {35};
    std::vector<std::vector<float>> logits;
    for (const When look_ahead : {When::kOff, When::kAuto}) {
        // Nothing pays for itself yet: what is read ahead is what is certain.
        const uint64_t some = ExpertStore::full_bytes(*checkpoint) * 2 / 3;
        ExpertStore store(checkpoint, {.cache_bytes = some, .look_ahead = look_ahead},
                          [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); });
        Model model(checkpoint, *backend, KvFormat::kF32);
        model.use_experts(store, nullptr);
        for (const std::vector<int32_t>& ids : {token, prompt}) {
            const auto state = model.new_state();
            const ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {0}};
            const uint64_t before = store.counters().prefetch_reads;
            logits.push_back(model.forward(std::span(&input, 1)).front().logits);
            EXPECT_EQ(store.counters().prefetch_reads > before, look_ahead == When::kAuto) << ids.size();
        }
    }
    EXPECT_EQ(logits[2], logits[0]);
    EXPECT_EQ(logits[3], logits[1]);
}

}  // namespace
}  // namespace sluice::testing
