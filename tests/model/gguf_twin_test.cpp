// Models in GGUF compute what their twins in safetensors do: names, order of rows, norms and the config that follows
// from the metadata.

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "model/model.h"
#include "tests/support/gguf_twin.h"
#include "tests/support/golden_case.h"
#include "tests/support/source_file.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {
namespace {

// Those that GGUF can say, in plain numbers.
std::vector<GoldenCase> plain_cases() {
    std::vector<GoldenCase> cases;
    for (const GoldenCase& golden : golden_cases()) {
        if (golden.name().ends_with("-bf16") && has_gguf_twin(golden.folder)) cases.push_back(golden);
    }
    return cases;
}

std::vector<float> logits_of(const std::filesystem::path& model, std::span<const int32_t> ids) {
    const auto backend = make_cpu_backend({.threads = 1, .exact = true});
    const auto checkpoint = Checkpoint::open(model);
    Model network(checkpoint, *backend, KvFormat::kF32);
    ExpertStoreOptions options;
    options.cache_bytes = 64 << 20;
    ExpertStore store(checkpoint, options,
                      [&](size_t slots, size_t bytes) { return backend->make_slots(slots, bytes); });
    network.use_experts(store, nullptr);
    const auto state = network.new_state();
    ForwardInput input{.state = state.get(), .ids = ids, .logit_rows = {}, .hidden = false};
    for (int32_t r = 0; r < static_cast<int32_t>(ids.size()); ++r) input.logit_rows.push_back(r);
    std::vector<ForwardOutput> outputs = network.forward(std::span(&input, 1));
    if (outputs[0].error) std::rethrow_exception(outputs[0].error);
    return std::move(outputs[0].logits);
}

class GgufTwins : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(GgufTwins, ComputesWhatWasRecorded) {
    const TemporaryFolder folder;
    gguf_twin(GetParam().folder, TwinType::kF32).write(folder / "twin.gguf");
    const Reference reference = load_reference(GetParam());
    EXPECT_LE(largest_difference(logits_of(folder / "twin.gguf", reference.ids), reference.logits), 1e-3);
}

TEST_P(GgufTwins, QuantizedToEightBitsItIsClose) {
    const TemporaryFolder folder;
    gguf_twin(GetParam().folder, TwinType::kQ8_0).write(folder / "twin.gguf");
    const Reference reference = load_reference(GetParam());
    const std::vector<float> logits = logits_of(folder.path(), reference.ids);
    double squares = 0, errors = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
        squares += static_cast<double>(reference.logits[i]) * reference.logits[i];
        errors += std::pow(static_cast<double>(logits[i]) - reference.logits[i], 2);
    }
    // An expert more or less per token is what remains at random weights.
    EXPECT_LE(std::sqrt(errors / squares), 0.2);
}

// -log of the probability of each token but the first, on average.
double mean_loss(const std::vector<float>& logits, std::span<const int32_t> ids) {
    const size_t vocabulary = logits.size() / ids.size();
    double sum = 0;
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
        const auto row = std::span(logits).subspan(t * vocabulary, vocabulary);
        double exponentials = 0;
        for (const float value : row) exponentials += std::exp(static_cast<double>(value));
        sum += std::log(exponentials) - static_cast<double>(row[static_cast<size_t>(ids[t + 1])]);
    }
    return sum / static_cast<double>(ids.size() - 1);
}

TEST(GgufTwin, TrainedModelsKeepTheirPerplexity) {
    const std::filesystem::path root = source_file("/../shared/models");
    if (!std::filesystem::exists(root)) GTEST_SKIP();
    const nlohmann::json held_out = nlohmann::json::parse(read_text_file(root / "eval_heldout_ids.json"));
    const auto all = (held_out.is_array() ? held_out : held_out["ids"]).get<std::vector<int32_t>>();
    constexpr size_t kWindow = 256, kWindows = 16;  // as long as what the models were trained on, and less
    const auto loss = [&](const std::filesystem::path& model) {
        double sum = 0;
        for (size_t w = 0; w < kWindows; ++w) {
            const std::span<const int32_t> ids = std::span(all).subspan(w * kWindow, kWindow);
            sum += mean_loss(logits_of(model, ids), ids);
        }
        return sum / static_cast<double>(kWindows);
    };
    for (const char* name : {"stories-qwen3moe", "stories-hybrid", "stories-mla"}) {
        SCOPED_TRACE(name);
        const TemporaryFolder folder;
        gguf_twin(root / name, TwinType::kF32).write(folder / "f32.gguf");
        gguf_twin(root / name, TwinType::kQ8_0).write(folder / "q8_0.gguf");
        const double published = loss(root / name);
        EXPECT_NEAR(loss(folder / "f32.gguf"), published, 1e-5);
        EXPECT_NEAR(loss(folder / "q8_0.gguf"), published, 2e-3);  // 0.2 % of the perplexity
    }
}

INSTANTIATE_TEST_SUITE_P(All, GgufTwins, ::testing::ValuesIn(plain_cases()), golden_test_name);

}  // namespace
}  // namespace sluice::testing
