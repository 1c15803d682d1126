// Every golden case, and the trained models beside them, through the catalogue: roles, shapes and decoded values.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"
#include "tests/support/golden_case.h"
#include "tests/support/source_file.h"

namespace sluice {
namespace {

using testing::golden_cases;
using testing::golden_test_name;
using testing::GoldenCase;

std::vector<float> decode_row_of(const Checkpoint& checkpoint, int layer, Role role, int64_t row) {
    const WeightSource& source = checkpoint.weight(layer, role);
    std::vector<float> values(static_cast<size_t>(source.columns));
    decode_row(checkpoint.view(source), row, values.data());
    return values;
}

class Goldens : public ::testing::TestWithParam<GoldenCase> {
  protected:
    std::shared_ptr<const Checkpoint> checkpoint_ = Checkpoint::open(GetParam().folder);
};

// The residual stream before the first layer is the decoded embedding, bit for bit.
TEST_P(Goldens, EmbeddingsAreTheFirstHiddenState) {
    const testing::Reference reference = testing::load_reference(GetParam());
    const int64_t hidden = checkpoint_->config().hidden_size;
    ASSERT_EQ(reference.hidden.front().size(), reference.ids.size() * static_cast<size_t>(hidden));
    for (size_t i = 0; i < reference.ids.size(); ++i) {
        const auto begin = reference.hidden.front().begin() + static_cast<int64_t>(i) * hidden;
        std::vector<float> row = decode_row_of(*checkpoint_, kNoLayer, Role::kEmbedding, reference.ids[i]);
        for (float& value : row) value *= static_cast<float>(checkpoint_->config().embedding_scale);
        ASSERT_EQ(row, std::vector<float>(begin, begin + hidden)) << "token " << i;
    }
}

// Logits are head times the last hidden state: the head, its decoding and its tie to the embedding.
TEST_P(Goldens, HeadGivesTheLogits) {
    const testing::Reference reference = testing::load_reference(GetParam());
    const ModelConfig& config = checkpoint_->config();
    const auto hidden = static_cast<size_t>(config.hidden_size);
    const auto vocabulary = static_cast<size_t>(config.vocabulary);
    double worst = 0;
    for (size_t token = 0; token < vocabulary; ++token) {
        const std::vector<float> row = decode_row_of(*checkpoint_, kNoLayer, Role::kHead, static_cast<int64_t>(token));
        for (size_t i = 0; i < reference.ids.size(); ++i) {
            double logit = 0;
            for (size_t c = 0; c < hidden; ++c) {
                logit += static_cast<double>(row[c]) * reference.hidden.back()[i * hidden + c];
            }
            if (config.logit_cap != 0) logit = config.logit_cap * std::tanh(logit / config.logit_cap);
            worst = std::max(worst, std::abs(logit - reference.logits[i * vocabulary + token]));
        }
    }
    EXPECT_LT(worst, 2e-4);
}

TEST_P(Goldens, EveryWeightIsFinite) {
    EXPECT_EQ(checkpoint_->find_non_finite(), std::nullopt);
}

TEST_P(Goldens, NormsAreAroundOne) {
    for (int layer = 0; layer < checkpoint_->config().layer_count(); ++layer) {
        for (const Role role : {Role::kMixerNorm, Role::kFeedForwardNorm, Role::kQueryNorm, Role::kKeyNorm,
                                Role::kLinearNorm, Role::kQueryLatentNorm, Role::kKeyValueLatentNorm}) {
            if (!checkpoint_->has(layer, role)) continue;
            double sum = 0;
            const std::vector<float> weight = checkpoint_->vector(layer, role);
            for (const float value : weight) sum += value;
            EXPECT_NEAR(sum / static_cast<double>(weight.size()), 1.0, 0.15)
                << "layer " << layer << ", role " << static_cast<int>(role);
        }
    }
}

TEST_P(Goldens, ConvolutionIsChannelsByKernel) {
    const ModelConfig& config = checkpoint_->config();
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        const auto* net = block_of<GatedDeltaNetConfig>(config.layers[static_cast<size_t>(layer)]);
        if (net == nullptr) continue;
        const WeightSource& conv = checkpoint_->weight(layer, Role::kLinearConv);
        EXPECT_EQ(conv.columns, net->kernel);
        EXPECT_EQ(conv.rows, 2 * net->key_heads * net->key_dim + net->value_heads * net->value_dim);
        EXPECT_EQ(checkpoint_->vector(layer, Role::kLinearConv).size(), static_cast<size_t>(conv.rows * conv.columns));
    }
}

// The reads of all experts of a layer touch each byte of the experts' tensors once.
TEST_P(Goldens, ReadsCoverTheExperts) {
    const ModelConfig& config = checkpoint_->config();
    uint64_t bytes = 0;
    for (int layer = 0; layer < config.layer_count(); ++layer) {
        if (config.mixture_of(layer) == nullptr) continue;
        const ExpertLayout& layout = checkpoint_->expert_layout(layer);
        std::vector<std::pair<std::pair<uint32_t, uint64_t>, uint64_t>> ranges;
        for (int expert = 0; expert < config.experts(); ++expert) {
            for (const ExpertRead& read : checkpoint_->expert_reads(layer, expert)) {
                ASSERT_LE(read.slot_offset + read.source.bytes, layout.record_bytes);
                ranges.push_back({{read.source.file, read.source.offset}, read.source.bytes});
                bytes += read.source.bytes;
            }
        }
        std::sort(ranges.begin(), ranges.end());
        for (size_t i = 1; i < ranges.size(); ++i) {
            if (ranges[i - 1].first.first != ranges[i].first.first) continue;
            ASSERT_LE(ranges[i - 1].first.second + ranges[i - 1].second, ranges[i].first.second);
        }
    }
    EXPECT_EQ(bytes, checkpoint_->expert_bytes());
}

TEST_P(Goldens, EveryTensorIsUsedOrSkippedForAReason) {
    uint64_t stored = 0;
    for (const CheckpointFile& file : checkpoint_->files()) {
        for (const SafetensorsEntry& entry : read_safetensors_header(File::open(file.path)).tensors) {
            stored += entry.bytes;
        }
    }
    uint64_t skipped = 0;
    for (const SkippedTensors& group : checkpoint_->skipped()) {
        EXPECT_NE(group.reason, "not used by this architecture") << group.example;
        skipped += group.bytes;
    }
    EXPECT_EQ(checkpoint_->trunk_bytes() + checkpoint_->expert_bytes() + skipped, stored);
}

INSTANTIATE_TEST_SUITE_P(All, Goldens, ::testing::ValuesIn(golden_cases()), golden_test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Goldens);

TEST(TrainedModels, Open) {
    const std::filesystem::path models = sluice::testing::source_file("/../shared/models");
    if (!std::filesystem::exists(models)) GTEST_SKIP() << "no ../shared/models";
    for (const char* name : {"stories-hybrid", "stories-mla", "stories-qwen3moe"}) {
        const auto checkpoint = Checkpoint::open(models / name);
        EXPECT_EQ(checkpoint->layout_name(), "Hugging Face") << name;
        EXPECT_EQ(checkpoint->quantization_name(), "BF16") << name;
        EXPECT_TRUE(checkpoint->skipped().empty()) << name;
        EXPECT_EQ(checkpoint->config().vocabulary, 4096) << name;
        EXPECT_EQ(checkpoint->find_non_finite(), std::nullopt) << name;
    }
}

}  // namespace
}  // namespace sluice
