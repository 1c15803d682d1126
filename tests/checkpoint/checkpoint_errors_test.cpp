// Checkpoints that are damaged or contradict themselves: each is refused at open in one line that names the culprit.

#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "checkpoint/checkpoint.h"
#include "tensor/float_types.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;
using testing::tiny_deepseek_v3;
using testing::tiny_qwen35_moe;
using testing::tiny_qwen3_moe;
using testing::TinyCheckpoint;

constexpr ErrorCode kInvalid = ErrorCode::kInvalidFile;
constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;
constexpr ErrorCode kNotFound = ErrorCode::kNotFound;
const std::string kQuery = "model.layers.1.self_attn.q_proj.weight";

void expect_refused(const TinyCheckpoint& tiny, ErrorCode code, std::vector<std::string> parts) {
    const TemporaryFolder folder;
    tiny.write(folder.path());
    parts.push_back(folder.path().string());
    expect_error(code, parts, [&] { Checkpoint::open(folder.path()); });
}

TEST(CheckpointErrors, Folder) {
    const TemporaryFolder folder;
    expect_error(kNotFound, {"nowhere", "config.json"}, [&] { Checkpoint::open(folder / "nowhere"); });
    expect_error(kNotFound, {"config.json"}, [&] { Checkpoint::open(folder.path()); });
    write_text_file(folder / "config.json", tiny_qwen3_moe().config.dump());
    expect_error(kNotFound, {"model.safetensors"}, [&] { Checkpoint::open(folder.path()); });
}

TEST(CheckpointErrors, ConfigThatIsNoJson) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path());
    write_text_file(folder / "config.json", "{\"hidden_size\": ");
    expect_error(kInvalid, {"config.json", "JSON"}, [&] { Checkpoint::open(folder.path()); });
}

TEST(CheckpointErrors, TruncatedFile) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path());
    const auto path = folder / "model.safetensors";
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
    expect_error(kInvalid, {"model.safetensors", "truncated", "tensor"}, [&] { Checkpoint::open(folder.path()); });
    std::filesystem::resize_file(path, 100);
    expect_error(kInvalid, {"model.safetensors", "header"}, [&] { Checkpoint::open(folder.path()); });
    std::filesystem::resize_file(path, 3);
    expect_error(kInvalid, {"model.safetensors", "3 bytes"}, [&] { Checkpoint::open(folder.path()); });
}

TEST(CheckpointErrors, LfsPointer) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path());
    write_text_file(folder / "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    expect_error(kInvalid, {"model.safetensors", "git lfs pull"}, [&] { Checkpoint::open(folder.path()); });
}

TEST(CheckpointErrors, MissingTensor) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.tensors.erase(kQuery);
    expect_refused(tiny, kNotFound, {kQuery});
    tiny = tiny_qwen3_moe();
    tiny.tensors.erase("model.layers.0.post_attention_layernorm.weight");
    expect_refused(tiny, kNotFound, {"model.layers.0.post_attention_layernorm.weight"});
    tiny = tiny_deepseek_v3();
    tiny.tensors.erase("model.layers.1.mlp.shared_experts.up_proj.weight");
    expect_refused(tiny, kNotFound, {"model.layers.1.mlp.shared_experts.up_proj.weight"});
    tiny = tiny_qwen35_moe();
    tiny.tensors.erase("model.language_model.layers.0.linear_attn.A_log");
    expect_refused(tiny, kNotFound, {"model.language_model.layers.0.linear_attn.A_log,"});
}

TEST(CheckpointErrors, WrongShape) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.add(kQuery, {64, 63});
    expect_refused(tiny, kInvalid, {"model.safetensors", kQuery, "[64, 63]", "[64, 64]"});
    tiny = tiny_qwen3_moe();
    tiny.add(kQuery, {64, 64, 1});
    expect_refused(tiny, kInvalid, {kQuery, "[64, 64, 1]"});
    tiny = tiny_qwen3_moe();
    tiny.add("model.norm.weight", {63});
    expect_refused(tiny, kInvalid, {"model.norm.weight", "[63]", "[64]"});
    tiny = tiny_qwen35_moe();
    tiny.add("model.language_model.layers.1.mlp.experts.gate_up_proj", {4, 32, 64});
    expect_refused(tiny, kInvalid, {"layers.1.mlp.experts.gate_up_proj", "[4, 32, 64]", "[4, 64, 64]"});
}

TEST(CheckpointErrors, ConfigThatContradictsTheTensors) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.config["vocab_size"] = 41;
    expect_refused(tiny, kInvalid, {"model.embed_tokens.weight", "[40, 64]", "[41, 64]", "config.json"});
    tiny = tiny_qwen3_moe();
    tiny.config["num_hidden_layers"] = 1;
    expect_refused(tiny, kInvalid, {"config.json", "num_hidden_layers", "model.layers.1."});
    tiny.config["num_hidden_layers"] = 3;
    expect_refused(tiny, kNotFound, {"model.layers.2.input_layernorm.weight"});
    tiny = tiny_qwen3_moe();
    tiny.config["num_experts"] = 3;
    expect_refused(tiny, kInvalid, {"experts.3.", "3 experts"});
    tiny.config["num_experts"] = 5;
    expect_refused(tiny, kInvalid, {"model.layers.0.mlp.gate.weight", "[4, 64]", "[5, 64]"});
    tiny.add("model.layers.0.mlp.gate.weight", {5, 64});
    expect_refused(tiny, kNotFound, {"model.layers.0.mlp.experts.4.gate_proj.weight"});
}

TEST(CheckpointErrors, UnsupportedDtype) {
    for (const auto& [dtype, name] : {std::pair(DType::kF64, "F64"), {DType::kF8E5M2, "F8_E5M2"}, {DType::kI8, "I8"}}) {
        TinyCheckpoint tiny = tiny_qwen3_moe();
        tiny.add(kQuery, {64, 64}, dtype);
        expect_refused(tiny, kUnsupported, {kQuery, name});
        tiny = tiny_qwen3_moe();
        tiny.add("model.norm.weight", {64}, dtype);
        expect_refused(tiny, kUnsupported, {"model.norm.weight", name});
    }
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.add("model.layers.0.mlp.experts.2.up_proj.weight", {32, 64}, DType::kF16);
    expect_refused(tiny, kUnsupported, {"model.layers.0.mlp.experts.2.up_proj.weight", "F16", "BF16"});
}

TEST(CheckpointErrors, Experts) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.tensors.erase("model.layers.1.mlp.experts.2.up_proj.weight");
    expect_refused(tiny, kNotFound, {"model.layers.1.mlp.experts.2.up_proj.weight"});
    tiny = tiny_qwen35_moe();
    tiny.tensors.erase("model.language_model.layers.1.mlp.experts.gate_up_proj");
    tiny.tensors.erase("model.language_model.layers.1.mlp.experts.down_proj");
    expect_refused(tiny, kNotFound,
                   {"no experts for layer 1", "model.language_model.layers.1.mlp.experts.gate_up_proj"});
    tiny = tiny_qwen3_moe();
    tiny.add("model.layers.0.mlp.switch_mlp.gate_proj.weight", {4, 32, 64});
    expect_refused(tiny, kInvalid, {"layer 0", "2 forms"});
}

TEST(CheckpointErrors, Biases) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.add("model.layers.0.self_attn.q_proj.bias", {64});
    expect_refused(tiny, kUnsupported, {"model.layers.0.self_attn.q_proj.bias"});
}

TEST(CheckpointErrors, SameTensorUnderTwoPrefixes) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.add("model.language_model.norm.weight", {64});
    expect_refused(tiny, kInvalid, {"model.norm.weight", "model.language_model.norm.weight"});
}

TEST(CheckpointErrors, LayersBehindTheLast) {
    TinyCheckpoint tiny = tiny_deepseek_v3();
    tiny.add("model.layers.2.self_attn.q_a_proj.weight", {32, 64});
    expect_refused(tiny, kInvalid, {"num_hidden_layers", "model.layers.2.self_attn.q_a_proj.weight"});
    tiny.add("model.layers.2.eh_proj.weight", {64, 128});
    const TemporaryFolder folder;
    tiny.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_EQ(checkpoint->skipped().size(), 1u);
    EXPECT_EQ(checkpoint->skipped().front().reason, "multi-token prediction");
    EXPECT_EQ(checkpoint->skipped().front().count, 2u);
}

TEST(CheckpointErrors, ConvolutionsOfTwoConventions) {
    TinyCheckpoint tiny = tiny_qwen35_moe();
    const std::string prefix = "model.language_model.layers.";
    tiny.config["text_config"]["layer_types"] = {"linear_attention", "linear_attention"};
    for (const auto& [name, tensor] : tiny_qwen35_moe().tensors) {
        if (name.starts_with(prefix + "0.linear_attn"))
            tiny.tensors[prefix + "1" + name.substr(prefix.size() + 1)] = tensor;
    }
    tiny.tensors[prefix + "1.linear_attn.conv1d.weight"].shape = {96, 4, 1};
    expect_refused(tiny, kInvalid, {prefix + "1.linear_attn.conv1d.weight", "other way around"});
    tiny.tensors[prefix + "1.linear_attn.conv1d.weight"].shape = {96, 4};
    expect_refused(tiny, kInvalid, {prefix + "1.linear_attn.conv1d.weight", "[96, 4]", "[96, 1, 4]"});
}

// ---- quantization

TinyCheckpoint quantized() {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.quantize("model.layers.1.self_attn.q_proj", WeightFormat::affine(4, 32, DType::kBF16));
    tiny.config["quantization"] = {{"group_size", 32}, {"bits", 4}, {"mode", "affine"}};
    return tiny;
}

TEST(CheckpointErrors, Quantization) {
    const std::string module = "model.layers.1.self_attn.q_proj";
    TinyCheckpoint tiny = quantized();
    tiny.config.erase("quantization");
    expect_refused(tiny, kInvalid, {module + ".scales", "quantization"});
    tiny = quantized();
    tiny.config["quantization"][module] = false;
    expect_refused(tiny, kInvalid, {module + ".scales", "not quantized"});
    tiny = quantized();
    tiny.config["quantization"][module] = {{"bits", 8}, {"group_size", 32}};
    expect_refused(tiny, kInvalid, {module + ".weight", "[64, 8]", "[64, 16]", "8-bit"});
    tiny = quantized();
    tiny.config["quantization"]["group_size"] = 64;
    expect_refused(tiny, kInvalid, {module + ".scales", "[64, 2]", "[64, 1]", "group 64"});
    tiny = quantized();
    tiny.config["quantization"]["group_size"] = 128;
    expect_refused(tiny, kInvalid, {module + ".weight", "group 128", "64 columns"});
    tiny = quantized();
    tiny.tensors.erase(module + ".biases");
    expect_refused(tiny, kNotFound, {module + ".biases"});
    tiny = quantized();
    tiny.tensors[module + ".biases"].dtype = DType::kF16;
    expect_refused(tiny, kUnsupported, {module + ".biases", "F16"});
    tiny = quantized();
    tiny.tensors.erase(module + ".scales");
    expect_refused(tiny, kInvalid, {module + ".weight", "no .scales"});
    tiny = quantized();
    tiny.config["quantization"] = {{"mode", "mxfp4"}};
    expect_refused(tiny, kUnsupported, {module + ".scales", "BF16", "U8"});
}

TEST(CheckpointErrors, Fp8) {
    TinyCheckpoint good = tiny_qwen3_moe();
    good.add(kQuery, {64, 64}, DType::kF8E4M3);
    good.add(kQuery + "_scale_inv", {2, 1}, DType::kF32);
    good.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {32, 128}}};
    const TemporaryFolder folder;
    good.write(folder.path());
    EXPECT_EQ(Checkpoint::open(folder.path())->weight(1, Role::kQuery).format, WeightFormat::fp8_block(32, 128));

    TinyCheckpoint tiny = good;
    tiny.add(kQuery + "_scale_inv", {2, 1}, DType::kBF16);
    tiny.write(folder.path());
    EXPECT_EQ(Checkpoint::open(folder.path())->weight(1, Role::kQuery).format,
              WeightFormat::fp8_block(32, 128, DType::kBF16));
    tiny = good;
    tiny.config.erase("quantization_config");
    expect_refused(tiny, kInvalid, {kQuery, "F8_E4M3", "quantization_config"});
    tiny = good;
    tiny.tensors.erase(kQuery + "_scale_inv");
    expect_refused(tiny, kNotFound, {kQuery + "_scale_inv"});
    tiny = good;
    tiny.add(kQuery + "_scale_inv", {1, 1}, DType::kF32);
    expect_refused(tiny, kInvalid, {kQuery + "_scale_inv", "[1, 1]", "[2, 1]"});
    tiny = good;
    tiny.add(kQuery + "_scale_inv", {2, 1}, DType::kF16);
    expect_refused(tiny, kUnsupported, {kQuery + "_scale_inv", "F16", "F32, BF16 and F8_E8M0"});
}

// ---- several files

TEST(CheckpointErrors, MissingShard) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path(), 3);
    std::filesystem::remove(folder / "model-00002-of-00003.safetensors");
    expect_error(kNotFound, {"model-00002-of-00003.safetensors", "index", "or remove"},
                 [&] { Checkpoint::open(folder.path()); });
    std::filesystem::remove(folder / "model.safetensors.index.json");
    expect_error(kNotFound, {"1 of the 3 shards"}, [&] { Checkpoint::open(folder.path()); });
}

TEST(CheckpointErrors, IndexThatLies) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path(), 2);
    const auto path = folder / "model.safetensors.index.json";
    const auto good = nlohmann::json::parse(read_text_file(path));
    const auto expect_index_error = [&](const std::string& text, const std::vector<std::string>& parts) {
        write_text_file(path, text);
        expect_error(kInvalid, parts, [&] { Checkpoint::open(folder.path()); });
    };
    nlohmann::json index = good;
    const std::string old = index["weight_map"][kQuery];
    const std::string other = old.find("00001-of") != std::string::npos ? "model-00002-of-00002.safetensors"
                                                                        : "model-00001-of-00002.safetensors";
    index["weight_map"][kQuery] = other;
    expect_index_error(index.dump(), {"index.json", kQuery, other});
    index = good;
    index["weight_map"]["model.layers.9.extra.weight"] = other;
    expect_index_error(index.dump(), {"index.json", "model.layers.9.extra.weight", other, "remove the index"});
    index = good;
    index["weight_map"][kQuery] = "../model.safetensors";
    expect_index_error(index.dump(), {"index.json", kQuery, "../model.safetensors"});
    index["weight_map"][kQuery] = 5;
    expect_index_error(index.dump(), {"index.json", kQuery, "string"});
    expect_index_error("{\"weight_map\": {}}", {"index.json", "weight_map"});
    expect_index_error("[]", {"index.json", "object"});
    expect_index_error("{", {"index.json", "JSON"});
}

TEST(CheckpointErrors, OtherKindsOfFilesAreNamed) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path());
    write_text_file(folder / "model.safetensors", "<!DOCTYPE html><html>401</html>");
    expect_error(kInvalid, {"model.safetensors", "a page of HTML"}, [&] { Checkpoint::open(folder.path()); });
    write_text_file(folder / "model.safetensors", "GGUF and more of it");
    expect_error(kUnsupported, {"model.safetensors", "a GGUF file"}, [&] { Checkpoint::open(folder.path()); });
    write_text_file(folder / "model.gguf", "GGUF");
    expect_error(kInvalid, {"model.gguf", "cut off"}, [&] { Checkpoint::open(folder / "model.gguf"); });
}

TEST(CheckpointErrors, ShardsOfOtherNamesAreRead) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path(), 2);
    std::filesystem::remove(folder / "model.safetensors.index.json");
    std::filesystem::rename(folder / "model-00001-of-00002.safetensors", folder / "model-bf16-0.safetensors");
    std::filesystem::rename(folder / "model-00002-of-00002.safetensors", folder / "layer-1-experts.safetensors");
    write_text_file(folder / "adapter_model.safetensors", "not looked at");
    EXPECT_EQ(Checkpoint::open(folder.path())->files().size(), 2u);
}

TEST(CheckpointErrors, AnArchitectureIsNamedBeforeItsQuantization) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.config["model_type"] = "bert_moe";
    tiny.config["quantization_config"] = {{"quant_method", "gptq"}};
    expect_refused(tiny, kUnsupported, {"model_type", "bert_moe"});
}

// 27 KB that speak of 16 million experts must not ask for memory for them.
TEST(CheckpointErrors, MoreExpertsThanTensors) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.config["num_experts"] = 65536;
    expect_refused(tiny, kInvalid, {"config.json", "65536 experts", "only 12 tensors"});
}

TEST(CheckpointErrors, TensorInTwoFiles) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path(), 2);
    TinyCheckpoint extra = tiny_qwen3_moe();
    std::erase_if(extra.tensors, [](const auto& item) { return item.first != "model.norm.weight"; });
    const TemporaryFolder other;
    extra.write(other.path());
    std::filesystem::copy(other / "model.safetensors", folder / "model-extra.safetensors");
    std::filesystem::remove(folder / "model.safetensors.index.json");
    std::filesystem::rename(folder / "model-00001-of-00002.safetensors", folder / "model-a.safetensors");
    std::filesystem::rename(folder / "model-00002-of-00002.safetensors", folder / "model-b.safetensors");
    expect_error(kInvalid, {"model.norm.weight", "model-extra.safetensors"}, [&] { Checkpoint::open(folder.path()); });
}

// ---- values

TEST(CheckpointErrors, ValuesThatAreNotFinite) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    store_unaligned(tiny.tensors["model.norm.weight"].bytes.data() + 2 * 7, uint16_t{0x7fc0});
    store_unaligned(tiny.tensors["model.layers.1.mlp.experts.3.down_proj.weight"].bytes.data() + 2 * 33,
                    uint16_t{0xff80});
    const TemporaryFolder folder;
    tiny.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path());
    expect_error(kInvalid, {"model.safetensors", "model.norm.weight", "nan", "7"},
                 [&] { checkpoint->vector(kNoLayer, Role::kFinalNorm); });
    EXPECT_EQ(checkpoint->find_non_finite(), "model.norm.weight: nan at row 0, column 7");
    store_unaligned(tiny.tensors["model.norm.weight"].bytes.data() + 2 * 7, uint16_t{0});
    tiny.write(folder.path());
    EXPECT_EQ(Checkpoint::open(folder.path())->find_non_finite(),
              "model.layers.1.mlp.experts, expert 3, down_proj: -inf at row 1, column 1");
}

TEST(CheckpointErrors, FileThatShrinksAfterOpening) {
    const TemporaryFolder folder;
    tiny_qwen3_moe().write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path());
    std::filesystem::resize_file(folder / "model.safetensors", 5000);
    expect_error(kInvalid, {"model.safetensors", "5000 bytes"},
                 [&] { checkpoint->vector(kNoLayer, Role::kFinalNorm); });
}

TEST(CheckpointErrors, WhatIsNotThere) {
    const TemporaryFolder folder;
    tiny_deepseek_v3().write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path());
    expect_error(kNotFound, {"layers.0.mlp.gate"}, [&] { checkpoint->weight(0, Role::kRouter); });
    expect_error(kNotFound, {"layer 0"}, [&] { checkpoint->expert_layout(0); });
    expect_error(kNotFound, {"layer 2"}, [&] { checkpoint->expert_reads(2, 0); });
    expect_error(kNotFound, {"expert 8"}, [&] { checkpoint->expert_reads(1, 8); });
    expect_error(kNotFound, {"expert -1"}, [&] { checkpoint->expert_checksum(1, -1); });
    EXPECT_FALSE(checkpoint->has(7, Role::kQuery));
    EXPECT_FALSE(checkpoint->has(-2, Role::kQuery));
}

}  // namespace
}  // namespace sluice
