#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "checkpoint/architecture.h"
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
        if (!shape.published.empty()) continue;
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

const ModelConfig& preset_config(const std::string& name) {
    return std::ranges::find(synth_shapes(), name, &SynthShape::name)->config;
}

// Of one expert at 4 bit.
uint64_t record_bytes(const ModelConfig& config) {
    const WeightFormat format = WeightFormat::affine(4, 64, DType::kBF16);
    const auto& mixture = *first_block<MixtureConfig>(config);
    return make_expert_layout(format, format, format, mixture.width(config.hidden_size), mixture.intermediate,
                              mixture.activation.gated())
        .record_bytes;
}

int64_t mixtures_of(const ModelConfig& config) {
    return std::ranges::count_if(config.layers, [](const LayerConfig& layer) {
        return std::holds_alternative<MixtureConfig>(layer.feed_forward);
    });
}

TEST(Synth, RecordsHaveTheSizesOfThePublishedModels) {
    EXPECT_EQ(record_bytes(preset_config("qwen3.6-35b-a3b")), 1769472u);
    EXPECT_EQ(record_bytes(preset_config("qwen3.5-397b-a17b")), 7077888u);
    EXPECT_EQ(record_bytes(preset_config("deepseek-v3")), 24772608u);
    for (const SynthPreset& preset : synth_presets()) {
        const ModelConfig& config = preset_config(preset.name);
        const uint64_t layers = static_cast<uint64_t>(config.layer_count());
        const uint64_t experts = static_cast<uint64_t>(mixtures_of(config) * config.experts()) * record_bytes(config);
        EXPECT_GT(preset.bytes_per_layer, experts / layers) << preset.name;
        EXPECT_LT(preset.bytes_per_layer, experts / layers * 9 / 7) << preset.name;
    }
}

// What is known of the published models, an expert's size rounded.
struct KnownShape {
    const char* preset;
    int64_t layers, mixtures, experts, per_token;
    double expert_megabytes;  // at 4 bit
};

constexpr KnownShape kKnownShapes[] = {
    {"gpt-oss-120b", 36, 36, 128, 4, 14.0},
    {"gpt-oss-20b", 24, 24, 32, 4, 14.0},
    {"glm-4.5-air", 46, 45, 128, 8, 9.7},
    {"glm-4.6", 92, 89, 160, 8, 13.3},
    {"minimax-m2", 62, 62, 256, 8, 8.0},
    {"deepseek-v3.2", 61, 58, 256, 8, 24.8},
    {"glm-5", 78, 75, 256, 8, 21.2},
    {"glm-5.2", 78, 75, 256, 8, 21.2},
    {"deepseek-v4-flash", 43, 43, 256, 6, 14.2},
    {"deepseek-v4-pro", 61, 61, 384, 6, 37.2},
    {"gemma-4-26b-a4b", 30, 30, 128, 8, 3.3},
    {"mimo-v2-flash", 48, 47, 256, 8, 14.2},
    {"kimi-linear-48b-a3b", 27, 26, 256, 8, 4.0},
    {"kimi-k2.5", 61, 60, 384, 8, 24.8},
    {"nemotron-3-nano-30b-a3b", 52, 23, 128, 6, 5.6},
    {"nemotron-3-super-120b-a12b", 88, 40, 512, 22, 3.1},
    {"llama-4-scout", 48, 48, 16, 1, 70.8},
    {"llama-4-maverick", 48, 24, 128, 1, 70.8},
    {"olmoe-1b-7b", 16, 16, 64, 8, 3.5},
    {"mixtral-8x7b", 32, 32, 8, 2, 99.1},
    {"mixtral-8x22b", 56, 56, 8, 2, 169.9},
    {"qwen3-vl-30b-a3b", 48, 48, 128, 8, 2.7},
    {"qwen3-vl-235b-a22b", 94, 94, 128, 8, 10.6},
    {"glm-5.3-flash", 45, 42, 288, 8, 14.2},
    {"step-3.7-flash", 45, 42, 288, 8, 8.8},
};

TEST(Synth, PresetsOfEveryFamilyHaveThePublishedSizes) {
    std::set<const Architecture*> seen;
    for (const SynthShape& shape : synth_shapes()) seen.insert(shape.config.architecture);
    for (const Architecture* architecture : architectures()) {
        EXPECT_TRUE(seen.contains(architecture)) << architecture->name;
    }
    size_t known = 0;
    for (const SynthShape& shape : synth_shapes()) {
        if (shape.published.empty()) continue;
        SCOPED_TRACE(shape.name);
        const auto* found = std::ranges::find(kKnownShapes, shape.name, &KnownShape::preset);
        ASSERT_NE(found, std::end(kKnownShapes));
        ++known;
        EXPECT_EQ(shape.config.layer_count(), found->layers);
        EXPECT_EQ(mixtures_of(shape.config), found->mixtures);
        EXPECT_EQ(shape.config.experts(), found->experts);
        EXPECT_EQ(first_block<MixtureConfig>(shape.config)->experts_per_token, found->per_token);
        EXPECT_NEAR(static_cast<double>(record_bytes(shape.config)) / 1e6, found->expert_megabytes, 0.06);
    }
    EXPECT_EQ(known, std::size(kKnownShapes));
}

TEST(Synth, WritesAConfigAlone) {
    const TemporaryFolder folder;
    synthesize(folder / "model", {.preset = "glm-5.2", .layers = 6, .config_only = true});
    EXPECT_THAT(files_in(folder / "model"), ::testing::ElementsAre("config.json"));
    const ModelConfig config = read_model_config(folder / "model");
    EXPECT_EQ(config.layer_count(), 6);
    EXPECT_EQ(mixtures_of(config), 3);
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
