#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"
#include "sluice/synthesize.h"
#include "tests/support/source_file.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Variant {
    std::string preset;
    SynthEncoding encoding;
    std::string quantization;
};

void PrintTo(const Variant& variant, std::ostream* out) {
    *out << variant.preset << " " << variant.quantization;
}

std::vector<Variant> variants() {
    std::vector<Variant> all;
    for (const SynthShape& shape : synth_shapes()) {
        all.push_back({shape.name, SynthEncoding::kAffine4, "affine 4-bit, group 64"});
        all.push_back({shape.name, SynthEncoding::kAffine8, "affine 8-bit, group 64"});
        all.push_back({shape.name, SynthEncoding::kBf16, "BF16"});
        if (shape.layout->fp8) {
            all.push_back({shape.name, SynthEncoding::kFp8, "FP8 128x128"});
        }
    }
    return all;
}

class SynthVariants : public ::testing::TestWithParam<Variant> {};

TEST_P(SynthVariants, OpensAsACheckpointOfThatShape) {
    const SynthShape shape = tiny_shape(GetParam().preset, 4);
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", shape, GetParam().encoding, 1);
    const auto checkpoint = Checkpoint::open(folder / "model");
    const ModelConfig& config = checkpoint->config();
    EXPECT_EQ(config.architecture, shape.config.architecture);
    ModelConfig expected = shape.config;
    const bool mlx = GetParam().encoding == SynthEncoding::kAffine4 || GetParam().encoding == SynthEncoding::kAffine8;
    change_blocks<LatentAttentionConfig>(expected, [&](LatentAttentionConfig& attention) {
        attention.split_key_value = mlx && shape.layout->mlx_splits_key_value;
    });
    EXPECT_TRUE(config.layers == expected.layers);
    EXPECT_EQ(checkpoint->quantization_name(), GetParam().quantization);
    EXPECT_THAT(checkpoint->skipped(), IsEmpty());
    EXPECT_EQ(checkpoint->find_non_finite(), std::nullopt);
}

TEST_P(SynthVariants, WeightsHaveTheirDeviationAndNoMean) {
    const SynthShape shape = tiny_shape(GetParam().preset, 2);
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", shape, GetParam().encoding, 1);
    const auto checkpoint = Checkpoint::open(folder / "model");
    const ExpertLayout& layout = checkpoint->expert_layout(1);
    std::vector<std::byte> slot(layout.record_bytes);
    for (const ExpertRead& read : checkpoint->expert_reads(1, 3)) {
        const auto bytes = checkpoint->mapped(read.source);
        std::ranges::copy(bytes, slot.begin() + static_cast<ptrdiff_t>(read.slot_offset));
    }
    const WeightView gate = view_in_slot(layout.gate, slot.data());
    double sum = 0, squares = 0;
    int64_t count = 0;
    std::vector<float> row(static_cast<size_t>(gate.columns));
    for (int64_t i = 0; i < gate.rows; ++i) {
        decode_row(gate, i, row.data());
        // The first 64 inputs are the constant, which experts do not read.
        for (size_t j = 0; j < row.size(); ++j) {
            if (j < 64) {
                ASSERT_EQ(row[j], 0.0f);
                continue;
            }
            sum += row[j];
            squares += static_cast<double>(row[j]) * row[j];
            ++count;
        }
    }
    const double n = static_cast<double>(count);
    const double deviation = 1 / std::sqrt(128.0);  // 192 - 64 free inputs
    EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.06 * deviation);
    EXPECT_LT(std::abs(sum / n), 4 * deviation / std::sqrt(n));
}

INSTANTIATE_TEST_SUITE_P(All, SynthVariants, ::testing::ValuesIn(variants()), [](const auto& param_info) {
    std::string name = param_info.param.preset + "_" + param_info.param.quantization.substr(0, 8);
    for (char& c : name) {
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
    }
    return name;
});

// Of every family whose config.json is here, with a hidden size that has room for the constant.
TEST(Synth, WritesTheShapeOfAPublishedConfig) {
    size_t families = 0;
    for (const auto& golden : std::filesystem::directory_iterator(source_file("/tests/data/goldens"))) {
        SCOPED_TRACE(golden.path().filename().string());
        const TemporaryFolder folder;
        nlohmann::json config = nlohmann::json::parse(read_text_file(golden.path() / "config.json"));
        nlohmann::json& text = config.contains("text_config") ? config["text_config"] : config;
        text["hidden_size"] = 192;
        write_text_file(folder / "config.json", config.dump());
        const int64_t layers =
            std::max<int64_t>(2, text["num_hidden_layers"].get<int64_t>() - 1);  // the first is dense
        for (const char* encoding : {"bf16", "affine4"}) {
            const std::filesystem::path model = folder / encoding;
            synthesize(model, {.preset = (folder / "config.json").string(), .layers = layers, .quantize = encoding});
            const auto checkpoint = Checkpoint::open(model);
            EXPECT_EQ(checkpoint->config().layer_count(), layers);
            EXPECT_EQ(checkpoint->config().architecture, read_model_config(golden.path()).architecture);
            EXPECT_THAT(checkpoint->skipped(), IsEmpty());
            EXPECT_EQ(checkpoint->find_non_finite(), std::nullopt);
        }
        ++families;
    }
    EXPECT_GT(families, 8u);
}

TEST(Synth, TheSeedDecidesEveryByte) {
    const SynthShape shape = tiny_shape("qwen3.6-35b-a3b", 4);
    const TemporaryFolder folder;
    for (const auto& [name, seed] : {std::pair{"a", 5}, {"b", 5}, {"c", 6}}) {
        synthesize_shape(folder / name, shape, SynthEncoding::kAffine4, static_cast<uint64_t>(seed));
    }
    const auto text = [&](const char* name) { return read_text_file(folder / name / "model.safetensors"); };
    EXPECT_EQ(text("a"), text("b"));
    EXPECT_NE(text("a"), text("c"));
}

TEST(Synth, RecordsHaveTheSizesOfThePublishedModels) {
    const auto find = [](const std::string& name) {
        return std::ranges::find(synth_shapes(), name, &SynthShape::name)->config;
    };
    const auto record = [](const ModelConfig& config) {
        const WeightFormat format = WeightFormat::affine(4, 64, DType::kBF16);
        return make_expert_layout(format, format, format, config.hidden_size,
                                  config.mixture_of(config.layer_count() - 1)->intermediate)
            .record_bytes;
    };
    EXPECT_EQ(record(find("qwen3.6-35b-a3b")), 1769472u);
    EXPECT_EQ(record(find("qwen3.5-397b-a17b")), 7077888u);
    EXPECT_EQ(record(find("deepseek-v3")), 24772608u);
    for (const SynthPreset& preset : synth_presets()) {
        const ModelConfig config = find(preset.name);
        const uint64_t experts = static_cast<uint64_t>(config.experts()) * record(config);
        EXPECT_GT(preset.bytes_per_layer, experts) << preset.name;
        EXPECT_LT(preset.bytes_per_layer, experts + experts / 8) << preset.name;
    }
}

TEST(Synth, HasNoEndOfText) {
    const TemporaryFolder folder;
    synthesize_shape(folder / "model", tiny_shape("deepseek-v3", 2), SynthEncoding::kAffine4, 1);
    EXPECT_THAT(read_text_file(folder / "model" / "generation_config.json"), Not(HasSubstr("eos")));
    EXPECT_THAT(read_text_file(folder / "model" / "config.json"), HasSubstr("\"eos_token_id\": null"));
}

TEST(Synth, LeavesNothingWhenItIsCancelled) {
    const TemporaryFolder folder;
    const auto cancel = [](uint64_t done, uint64_t total) { return done < total / 2; };
    try {
        synthesize_shape(folder / "model", tiny_shape("qwen3-30b-a3b", 2), SynthEncoding::kAffine4, 1, cancel);
        FAIL() << "was not cancelled";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCancelled);
    }
    EXPECT_THAT(files_in(folder.path()), IsEmpty());
}

TEST(Synth, RefusesWhatItCannotDo) {
    const TemporaryFolder folder;
    const auto refusal = [&](const SynthOptions& options) -> std::string {
        try {
            synthesize(folder / "model", options);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kUsage);
            return error.what();
        }
        return "nothing was refused";
    };
    EXPECT_THAT(refusal({.preset = "gpt-5"}), HasSubstr("qwen3-30b-a3b"));
    const std::string published = source_file("/tests/data/goldens/qwen3-moe-mlx4/config.json");
    EXPECT_THAT(refusal({.preset = published, .layers = 100}), HasSubstr("layers"));
    EXPECT_THAT(refusal({.preset = "qwen3-30b-a3b", .layers = 49}), HasSubstr("1 to 48"));
    EXPECT_THAT(refusal({.preset = "qwen3-30b-a3b", .layers = -1}), HasSubstr("1 to 48"));
    EXPECT_THAT(refusal({.preset = "qwen3-30b-a3b", .layers = 1, .quantize = "fp8"}), HasSubstr("affine4"));
    write_text_file(folder / "note", "mine");
    EXPECT_THROW(synthesize_shape(folder.path(), tiny_shape("qwen3-30b-a3b", 1), SynthEncoding::kBf16, 1), Error);
    EXPECT_EQ(read_text_file(folder / "note"), "mine");
    EXPECT_THROW(synthesize_shape("/proc/no-such-place/model", tiny_shape("qwen3-30b-a3b", 1), SynthEncoding::kBf16, 1),
                 Error);
    EXPECT_THAT(files_in(folder.path()), ::testing::ElementsAre("note"));
}

}  // namespace
}  // namespace sluice::testing
