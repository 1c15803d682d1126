#include "checkpoint/quantization_config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "tensor/codecs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;

QuantizationConfig parse(const std::string& text) {
    return QuantizationConfig::parse(text, "config.json");
}

TEST(QuantizationConfig, DefaultsAndOverrides) {
    const QuantizationConfig config = parse(
        R"({"quantization":{"group_size":128,"bits":6,"mode":"affine","a.b":{"bits":8,"group_size":32},"c":false,"d":true,
            "e":{"mode":"mxfp4"}}})");
    EXPECT_EQ(config.module_format("x", DType::kF16), WeightFormat::affine(6, 128, DType::kF16));
    EXPECT_EQ(config.module_format("a.b", DType::kBF16), WeightFormat::affine(8, 32, DType::kBF16));
    EXPECT_EQ(config.module_format("d", DType::kF32), WeightFormat::affine(6, 128, DType::kF32));
    EXPECT_EQ(config.module_format("e", DType::kU8), kMxfp4Codec.standard);
    expect_error(ErrorCode::kInvalidFile, {"config.json", "c.scales", "not quantized"},
                 [&] { config.module_format("c", DType::kF16); });
    expect_error(ErrorCode::kInvalidFile, {"config.json", "w", "F8_E4M3"}, [&] { config.fp8_format("w"); });
}

TEST(QuantizationConfig, WrappersOfTheTextModelMakeNoOtherModule) {
    const QuantizationConfig config = parse(
        R"({"quantization":{"bits":4,"model.language_model.layers.0.mlp.gate":{"bits":8},"layers.1.mlp.gate":false}})");
    const WeightFormat eight = WeightFormat::affine(8, 64, DType::kBF16);
    for (const char* path : {"language_model.model.layers.0.mlp.gate", "model.layers.0.mlp.gate",
                             "model.language_model.layers.0.mlp.gate", "layers.0.mlp.gate"}) {
        EXPECT_EQ(config.module_format(path, DType::kBF16), eight) << path;
    }
    EXPECT_EQ(config.module_format("model.layers.2.mlp.gate", DType::kBF16), WeightFormat::affine(4, 64, DType::kBF16));
    expect_error(ErrorCode::kInvalidFile, {"layers.1.mlp.gate", "not quantized"},
                 [&] { config.module_format("model.layers.1.mlp.gate", DType::kBF16); });
}

TEST(QuantizationConfig, FormatsOfFp8HaveTwoNames) {
    const auto named = [](const char* name) {
        return parse(fmt::format(
            R"({{"quantization_config":{{"quant_method":"fp8","fmt":"{}","weight_block_size":[128,128]}}}})", name));
    };
    EXPECT_EQ(named("float8_e4m3fn").fp8_format("w"), named("e4m3").fp8_format("w"));
}

TEST(QuantizationConfig, AFileOfModelOptBesideIsNotOverlooked) {
    const testing::TemporaryFolder folder;
    const auto beside = [&](const char* config, const char* algorithm) {
        write_text_file(folder / "hf_quant_config.json",
                        fmt::format(R"({{"quantization": {{"quant_algo": {}, "group_size": 16}}}})", algorithm));
        QuantizationConfig read = parse(config);
        read.add_separate(folder.path());
        return read;
    };
    QuantizationConfig alone = parse("{}");
    alone.add_separate(folder.path());
    EXPECT_TRUE(alone.empty());
    EXPECT_TRUE(beside("{}", "null").empty());
    EXPECT_EQ(beside("{}", R"("NVFP4")").expected_expert_format("gate_proj"), kScaledNvfp4BlockCodec.standard);
    expect_error(ErrorCode::kUnsupported, {"hf_quant_config.json", "quant_algo", "W4A8_AWQ", "BF16"},
                 [&] { beside("{}", R"("W4A8_AWQ")"); });
    const QuantizationConfig own = beside(R"({"quantization":{"bits":4}})", R"("W4A8_AWQ")");
    EXPECT_EQ(own.expected_expert_format("gate_proj"), WeightFormat::affine(4, 64, DType::kBF16));
}

// An override without a mode is affine, also where the default is another.
TEST(QuantizationConfig, MixedModes) {
    const QuantizationConfig config =
        parse(R"({"quantization":{"group_size":32,"bits":4,"mode":"mxfp4","gate":{"bits":8,"group_size":64}}})");
    EXPECT_EQ(config.module_format("x", DType::kU8), kMxfp4Codec.standard);
    EXPECT_EQ(config.module_format("gate", DType::kBF16), WeightFormat::affine(8, 64, DType::kBF16));
    EXPECT_EQ(parse(R"({"quantization":{"mode":"nvfp4"}})").module_format("x", DType::kU8), kNvfp4Codec.standard);
    EXPECT_EQ(parse(R"({"quantization":{"mode":"mxfp8"}})").module_format("x", DType::kU8), kMxfp8Codec.standard);
}

TEST(QuantizationConfig, WhereItStands) {
    const auto affine = WeightFormat::affine(5, 64, DType::kBF16);
    EXPECT_EQ(parse(R"({"quantization_config":{"bits":5,"group_size":64}})").module_format("x", DType::kBF16), affine);
    EXPECT_EQ(parse(R"({"text_config":{"quantization":{"bits":5,"group_size":64}}})").module_format("x", DType::kBF16),
              affine);
    const QuantizationConfig both = parse(
        R"({"quantization":{"bits":5},"quantization_config":{"quant_method":"fp8","weight_block_size":[128,64]}})");
    EXPECT_EQ(both.module_format("x", DType::kBF16), affine);
    EXPECT_EQ(both.fp8_format("w"), WeightFormat::fp8_block(128, 64));
    expect_error(ErrorCode::kInvalidFile, {"x.scales", "missing"}, [] { parse("{}").module_format("x", DType::kF16); });
}

TEST(QuantizationConfig, Refusals) {
    const auto expect_bad = [](const std::string& text, ErrorCode code, std::vector<std::string> parts) {
        parts.emplace_back("config.json");
        expect_error(code, parts, [&] { parse(text); });
    };
    constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
    constexpr ErrorCode kInvalid = ErrorCode::kInvalidFile;
    expect_bad(R"({"quantization_config":{"quant_method":"hqq","bits":4}})", kUnsupported,
               {"quant_method", "hqq", "fp8"});
    expect_bad(R"({"quantization_config":{"quant_method":"gptq","bits":4}})", kInvalid, {"group_size"});
    expect_bad(R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[0,128]}})", kUnsupported,
               {"weight_block_size"});
    expect_bad(R"({"quantization_config":{"quant_method":"fp8","fmt":"e5m2","weight_block_size":[1,1]}})", kUnsupported,
               {"fmt"});
    expect_bad(R"({"quantization":{"bits":7,"group_size":64}})", kUnsupported, {"bits", "7"});
    expect_bad(R"({"quantization":{"bits":4,"group_size":48}})", kUnsupported, {"48"});
    expect_bad(R"({"quantization":{"bits":"4"}})", kInvalid, {"quantization.bits"});
    expect_bad(R"({"quantization":{"mode":"nf4"}})", kUnsupported, {"mode", "nf4"});
    expect_bad(R"({"quantization":{"mode":"mxfp4","group_size":64}})", kInvalid, {"group_size", "mxfp4", "32"});
    expect_bad(R"({"quantization":{"mode":"mxfp4","bits":8}})", kInvalid, {"bits", "mxfp4", "4"});
    expect_bad(R"({"quantization":{"a\nb":{"bits":7}}})", kUnsupported, {"quantization.a?b.bits"});
    expect_bad(R"({"quantization":4})", kInvalid, {"quantization"});
    expect_bad("{", kInvalid, {"JSON"});
}

}  // namespace
}  // namespace sluice
