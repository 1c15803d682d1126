#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "sluice/model_report.h"
#include "sluice/pack.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

TEST(Inspect, CountsLayersExpertsAndBytesOfAHybrid) {
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", tiny_shape("qwen3.6-35b-a3b", 4), SynthEncoding::kAffine4, 1);
    const ModelReport report = inspect(folder / "model");
    EXPECT_EQ(report.architecture, "qwen3_5_moe");
    EXPECT_EQ(report.layout, "MLX");
    EXPECT_EQ(report.expert_quantization, "affine 4-bit, group 64");
    EXPECT_EQ(report.trunk_quantization, "affine 4-bit, group 64");
    EXPECT_EQ(report.layers, 4);
    EXPECT_EQ(report.full_attention_layers, 1);
    EXPECT_EQ(report.linear_attention_layers, 3);
    EXPECT_EQ(report.moe_layers, 4);
    EXPECT_EQ(report.experts, 16);
    // Three matrices of 192 x 64 at half a byte, and 4 bytes of scale and bias for each 64.
    EXPECT_EQ(report.bytes_per_expert, 3u * 192 * 64 / 2 + 3u * 192 * 64 / 64 * 4);
    EXPECT_EQ(report.expert_bytes, 4 * 16 * report.bytes_per_expert);
    EXPECT_EQ(report.expert_bytes_per_token, 4 * 4 * report.bytes_per_expert);
    EXPECT_EQ(report.kv_bytes_per_token, 2u * 2 * 2 * 256);  // one layer, keys and values, 2 heads, BF16
    EXPECT_EQ(report.state_bytes_per_sequence, 3u * 4 * (4 * 128 * 128 + (2 * 2 * 128 + 4 * 128) * 3));
    EXPECT_EQ(report.files, 1u);
    EXPECT_EQ(report.file_bytes, std::filesystem::file_size(folder / "model" / "model.safetensors"));
    EXPECT_FALSE(report.has_tokenizer);
    EXPECT_FALSE(report.has_chat_template);
}

// A user plans before the download: what config.json says must agree with what is then downloaded.
TEST(Inspect, AConfigAloneForetellsTheWeights) {
    const struct {
        const char* shape;
        SynthEncoding encoding;
    } kCases[] = {{"qwen3.6-35b-a3b", SynthEncoding::kAffine4},
                  {"qwen3-30b-a3b", SynthEncoding::kBf16},
                  {"deepseek-v3", SynthEncoding::kFp8}};
    for (const auto& each : kCases) {
        SCOPED_TRACE(each.shape);
        const TemporaryFolder folder;
        synthesize_shape(folder / "model", tiny_shape(each.shape, 4), each.encoding, 1);
        const ModelReport whole = inspect(folder / "model");
        const ModelReport config = inspect_config(folder / "model" / "config.json");
        EXPECT_EQ(config.layers, whole.layers);
        EXPECT_EQ(config.kv_bytes_per_token, whole.kv_bytes_per_token);
        EXPECT_EQ(config.expert_quantization, whole.expert_quantization);
        EXPECT_EQ(config.weights_per_token, whole.weights_per_token);
        // Records are rounded to pages.
        EXPECT_GE(config.bytes_per_expert, whole.bytes_per_expert);
        EXPECT_LE(config.bytes_per_expert, whole.bytes_per_expert + 8192);
        // Some publishers keep single vectors in F32.
        EXPECT_NEAR(static_cast<double>(config.trunk_bytes) / static_cast<double>(whole.trunk_bytes), 1, 0.03);
    }
}

TEST(Inspect, CountsLatentsOfMla) {
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", tiny_shape("deepseek-v3", 4), SynthEncoding::kFp8, 1);
    const ModelReport report = inspect(folder / "model");
    EXPECT_EQ(report.layout, "Hugging Face");
    EXPECT_EQ(report.latent_attention_layers, 4);
    EXPECT_EQ(report.dense_layers, 3);
    EXPECT_EQ(report.moe_layers, 1);
    EXPECT_EQ(report.kv_bytes_per_token, 4u * 2 * (128 + 64));
    EXPECT_EQ(report.state_bytes_per_sequence, 0u);
    EXPECT_EQ(report.expert_quantization, "FP8 128x128");
}

TEST(Inspect, TellsPackedAndItsTokenizerAndTemplate) {
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", tiny_shape("qwen3-30b-a3b", 2), SynthEncoding::kBf16, 1);
    write_text_file(folder / "model" / "tokenizer.json", "{}");
    write_text_file(folder / "model" / "tokenizer_config.json", R"({"chat_template": "{{ messages }}"})");
    pack(folder / "model", folder / "packed", {.quantize = "affine8"});
    const ModelReport report = inspect(folder / "packed");
    EXPECT_EQ(report.layout, "packed");
    EXPECT_EQ(report.expert_quantization, "affine 8-bit, group 64");
    EXPECT_TRUE(report.has_tokenizer);
    EXPECT_TRUE(report.has_chat_template);
    EXPECT_NE(report.fingerprint, inspect(folder / "model").fingerprint);
}

TEST(Inspect, SaysWhatIsSkipped) {
    const TemporaryFolder folder;
    TinyCheckpoint tiny = tiny_qwen35_moe();
    tiny.add("model.visual.blocks.0.attn.qkv.weight", {8, 8});
    tiny.write(folder / "model");
    const ModelReport report = inspect(folder / "model");
    ASSERT_EQ(report.skipped.size(), 1u);
    EXPECT_EQ(report.skipped[0].reason, "vision tower");
    EXPECT_EQ(report.skipped[0].tensors, 1u);
    EXPECT_EQ(report.skipped[0].bytes, 128u);
    EXPECT_EQ(report.skipped[0].example, "model.visual.blocks.0.attn.qkv.weight");
}

TEST(Inspect, RefusesWhatIsNoCheckpoint) {
    const TemporaryFolder folder;
    expect_error(ErrorCode::kNotFound, {"config.json"}, [&] { inspect(folder.path()); });
}

}  // namespace
}  // namespace sluice::testing
