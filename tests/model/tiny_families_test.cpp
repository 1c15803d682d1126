// Families whose recorded outputs are too large for the tree: every backend of the host gives what the reference does,
// and neither the cut of a prompt nor company, cache or packing changes a bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/model.h"
#include "sluice/pack.h"
#include "tests/backend/queued_backend.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_families.h"

namespace sluice::testing {
namespace {

constexpr size_t kTokens = 70;

struct Family {
    const char* name;
    nlohmann::json (*config)();
    bool any_cut;  // how a prompt is cut changes no bit; latent attention over all tokens takes other forms
};

// Logits of every position of each sequence, all of them together in pieces of so many tokens.
std::vector<std::vector<float>> run(const std::filesystem::path& folder, Backend& backend, size_t chunk,
                                    const std::vector<std::vector<int32_t>>& sequences, bool small_cache = false,
                                    bool in_tiles = false) {
    const auto checkpoint = Checkpoint::open(folder);
    Model model(checkpoint, backend, KvFormat::kF32, in_tiles ? TrunkForm::kFastest : TrunkForm::kMapped);
    ExpertStoreOptions options;
    options.cache_bytes = small_cache ? ExpertStore::floor_bytes(*checkpoint) : uint64_t{64} << 20;
    options.in_tiles = [&](const WeightFormat& format) { return in_tiles && backend.reads_tiles(format); };
    ExpertStore store(checkpoint, options,
                      [&](size_t slots, size_t bytes) { return backend.make_slots(slots, bytes); });
    model.use_experts(store, nullptr);
    std::vector<std::unique_ptr<SequenceState>> states;
    std::vector<std::vector<float>> logits(sequences.size());
    for (size_t s = 0; s < sequences.size(); ++s) states.push_back(model.new_state());
    for (size_t begin = 0; begin < sequences[0].size(); begin += chunk) {
        const size_t count = std::min(chunk, sequences[0].size() - begin);
        std::vector<ForwardInput> inputs;
        for (size_t s = 0; s < sequences.size(); ++s) {
            ForwardInput& input = inputs.emplace_back();
            input.state = states[s].get();
            input.ids = std::span(sequences[s]).subspan(begin, count);
            for (size_t r = 0; r < count; ++r) input.logit_rows.push_back(static_cast<int32_t>(r));
        }
        const std::vector<ForwardOutput> outputs = model.forward(inputs);
        for (size_t s = 0; s < sequences.size(); ++s) {
            if (outputs[s].error) std::rethrow_exception(outputs[s].error);
            logits[s].insert(logits[s].end(), outputs[s].logits.begin(), outputs[s].logits.end());
        }
    }
    return logits;
}

class TinyFamilies : public ::testing::TestWithParam<Family> {
  protected:
    TinyFamilies() { tiny_model(GetParam().config()).write(folder_ / "model"); }

    static std::vector<int32_t> tokens(int32_t seed) {
        std::vector<int32_t> ids;
        for (size_t i = 0; i < kTokens; ++i) ids.push_back((static_cast<int32_t>(i * i) * 7 + seed) % 40);
        return ids;
    }

    const TemporaryFolder folder_;
};

double largest_difference_of(const std::vector<float>& a, const std::vector<float>& b) {
    double largest = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
    }
    return largest;
}

TEST_P(TinyFamilies, BackendsOfTheHostAgree) {
    const auto reference = make_reference_backend();
    const auto expected = run(folder_ / "model", *reference, kTokens, {tokens(3)});
    const auto queued = make_queued_backend();
    EXPECT_LE(largest_difference_of(run(folder_ / "model", *queued, 9, {tokens(3)})[0], expected[0]), 1e-4);
    const auto cpu = make_cpu_backend({.threads = 2, .exact = true});
    EXPECT_LE(largest_difference_of(run(folder_ / "model", *cpu, 9, {tokens(3)})[0], expected[0]), 1e-4);
    EXPECT_GT(largest_difference_of(run(folder_ / "model", *cpu, 9, {tokens(4)})[0], expected[0]), 1e-2);
}

TEST_P(TinyFamilies, NeitherCutNorCompanyNorCacheChangesABit) {
    const auto cpu = make_cpu_backend({.threads = 3});
    const auto whole = run(folder_ / "model", *cpu, kTokens, {tokens(3)});
    const auto pieces = run(folder_ / "model", *cpu, 7, {tokens(3)});
    for (const size_t chunk : {size_t{1}, size_t{33}}) {
        EXPECT_TRUE(run(folder_ / "model", *cpu, chunk, {tokens(3)}, true) == pieces) << chunk;
    }
    if (GetParam().any_cut) {
        EXPECT_TRUE(pieces == whole);
    }
    const auto together = run(folder_ / "model", *cpu, 7, {tokens(9), tokens(3)});
    EXPECT_TRUE(together[1] == pieces[0]);
}

TEST_P(TinyFamilies, PackedIsTheSame) {
    pack(folder_ / "model", folder_ / "packed", {});
    const auto cpu = make_cpu_backend({.threads = 2});
    EXPECT_TRUE(run(folder_ / "packed", *cpu, 11, {tokens(3)}) == run(folder_ / "model", *cpu, 11, {tokens(3)}));
}

// Every weight that stands in tiles is read by operations that take them.
TEST_P(TinyFamilies, QuantizedInTilesIsTheSame) {
    for (const char* format : {"affine4", "affine8"}) {
        pack(folder_ / "model", folder_ / format, {.quantize = format, .group_size = 32});
        const auto cpu = make_cpu_backend({.threads = 2});
        const auto rows = run(folder_ / format, *cpu, 11, {tokens(3)});
        EXPECT_TRUE(run(folder_ / format, *cpu, 11, {tokens(3)}, false, true) == rows) << format;
    }
}

// What a state holds is all that there is: one that was written down and read goes on like the one it was.
TEST_P(TinyFamilies, AStateGoesOnAfterItWasSaved) {
    const auto cpu = make_cpu_backend({.threads = 1});
    const auto checkpoint = Checkpoint::open(folder_ / "model");
    Model model(checkpoint, *cpu, KvFormat::kBF16);
    ExpertStore store(checkpoint, {.cache_bytes = uint64_t{64} << 20},
                      [&](size_t slots, size_t bytes) { return cpu->make_slots(slots, bytes); });
    model.use_experts(store, nullptr);
    const std::vector<int32_t> ids = tokens(3);
    const auto forward = [&](SequenceState& state, size_t begin, size_t count) {
        const ForwardInput input{.state = &state, .ids = std::span(ids).subspan(begin, count), .logit_rows = {0}};
        return model.forward(std::span(&input, 1)).front().logits;
    };
    const auto state = model.new_state(), restored = model.new_state();
    forward(*state, 0, 50);
    restored->load(50, state->save());
    EXPECT_TRUE(forward(*state, 50, 1) == forward(*restored, 50, 1));
    EXPECT_TRUE(forward(*state, 51, 9) == forward(*restored, 51, 9));
}

// Projections that change nothing to experts of the hidden size and back.
TEST(ExpertsOfAnotherWidth, ReadAndGiveThroughTheirProjections) {
    TinyCheckpoint latent = tiny_model(tiny_nemotron_h_latent_config(32));
    const std::string mixer = "backbone.layers.1.mixer.", in = mixer + "fc1_latent_proj.weight",
                      out = mixer + "fc2_latent_proj.weight";
    TinyCheckpoint plain = latent;
    plain.config.erase("moe_latent_size");
    plain.tensors.erase(in);
    plain.tensors.erase(out);
    const auto diagonal = [&](const std::string& name, float value) {
        std::vector<float> matrix(32 * 32);
        for (size_t i = 0; i < 32; ++i) matrix[i * 33] = value;
        std::memcpy(latent.tensors.at(name).bytes.data(), matrix.data(), matrix.size() * sizeof(float));
    };
    const TemporaryFolder folder;
    plain.write(folder / "plain");
    const auto backend = make_reference_backend();
    const std::vector<std::vector<int32_t>> tokens = {{1, 7, 30, 2, 19, 5, 5, 11}};
    const auto logits = [&](const char* name) { return run(folder / name, *backend, tokens[0].size(), tokens); };
    diagonal(in, 1);
    diagonal(out, 1);
    latent.write(folder / "same");
    EXPECT_LE(largest_difference_of(logits("same")[0], logits("plain")[0]), 1e-5);  // sums of another order
    diagonal(out, 0.5f);
    latent.write(folder / "half");
    EXPECT_GT(largest_difference_of(logits("half")[0], logits("plain")[0]), 1e-2);
}

INSTANTIATE_TEST_SUITE_P(
    All, TinyFamilies,
    ::testing::Values(
        Family{"deepseek_v32", tiny_deepseek_v32_config, true}, Family{"glm_moe_dsa", tiny_glm_moe_dsa_config, true},
        Family{"kimi_linear", tiny_kimi_linear_config, false}, Family{"nemotron_h", tiny_nemotron_h_config, true},
        Family{"nemotron_h_latent", [] { return tiny_nemotron_h_latent_config(64); }, true},
        Family{"glm5_next", tiny_glm5_next_config, true}, Family{"deepseek_v4", tiny_deepseek_v4_config, true},
        Family{"qwen4_exp", tiny_qwen4_exp_config, true}, Family{"step3p7", tiny_step3p7_config, true}),
    [](const auto& family) { return std::string(family.param.name); });

}  // namespace
}  // namespace sluice::testing
