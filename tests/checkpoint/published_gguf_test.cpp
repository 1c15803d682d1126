#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "checkpoint/published.h"
#include "tensor/codecs.h"
#include "tests/support/gguf_twin.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;
using testing::gguf_twin;
using testing::GgufWriter;
using testing::TemporaryFolder;
using testing::TwinType;

GgufWriter tiny_twin(const testing::TinyCheckpoint& tiny, TwinType type = TwinType::kF32) {
    const TemporaryFolder folder;
    tiny.write(folder.path());
    return gguf_twin(folder.path(), type);
}

GgufWriter::Tensor& tensor_of(GgufWriter& writer, const std::string& name) {
    const auto found = std::ranges::find(writer.tensors, name, &GgufWriter::Tensor::name);
    EXPECT_NE(found, writer.tensors.end()) << name;
    return *found;
}

TEST(PublishedGguf, NamesShapesAndConfigAreThoseOfSafetensors) {
    const TemporaryFolder folder;
    tiny_twin(testing::tiny_qwen3_moe(), TwinType::kQ8_0).write(folder / "x.gguf");
    const Published published = read_published(folder.path());
    EXPECT_EQ(published.source, folder / "x.gguf");
    const nlohmann::json config = nlohmann::json::parse(published.config_text);
    EXPECT_EQ(config["model_type"], "qwen3_moe");
    EXPECT_EQ(config["num_hidden_layers"], 2);
    EXPECT_EQ(config["vocab_size"], 40);
    const auto tensor = [&](const std::string& name) {
        const auto found = std::ranges::find_if(published.tensors, [&](const auto& t) { return t.entry.name == name; });
        return found == published.tensors.end() ? StoredTensor{} : *found;
    };
    const StoredTensor query = tensor("model.layers.1.self_attn.q_proj.weight");
    EXPECT_EQ(query.entry.shape, (std::vector<int64_t>{64, 64}));
    EXPECT_EQ(query.codec, &kQ8_0Codec);
    EXPECT_EQ(query.stored_name, "blk.1.attn_q.weight");
    EXPECT_EQ(tensor("model.layers.0.mlp.switch_mlp.down_proj.weight").entry.shape, (std::vector<int64_t>{4, 64, 32}));
    EXPECT_EQ(tensor("model.norm.weight").codec, nullptr);
    const auto checkpoint = Checkpoint::open(folder.path());
    EXPECT_EQ(checkpoint->layout_name(), "GGUF");
    EXPECT_EQ(checkpoint->quantization_name(), "q8_0");
}

// Also where it is tied, whatever the config of the twin says.
TEST(PublishedGguf, AHeadThatIsNotThereIsTheEmbedding) {
    const TemporaryFolder folder;
    GgufWriter writer = tiny_twin(testing::tiny_qwen3_moe());
    std::erase_if(writer.tensors, [](const auto& tensor) { return tensor.name == "output.weight"; });
    writer.write(folder / "x.gguf");
    EXPECT_TRUE(Checkpoint::open(folder.path())->config().tied_embeddings);
}

// Query, key and value as one matrix; gate and up as one stack; experts apart, as files before April 2024 had them.
TEST(PublishedGguf, OtherFormsOfTheSameMatrices) {
    const TemporaryFolder folder;
    GgufWriter writer = tiny_twin(testing::tiny_qwen3_moe());
    writer.write(folder / "plain.gguf");
    const auto plain = Checkpoint::open(folder / "plain.gguf");
    for (const std::string path : {"blk.0.", "blk.1."}) {
        GgufWriter::Tensor& query = tensor_of(writer, path + "attn_q.weight");
        query.data += tensor_of(writer, path + "attn_k.weight").data + tensor_of(writer, path + "attn_v.weight").data;
        query.name = path + "attn_qkv.weight";
        query.sizes = {64, 128};
        GgufWriter::Tensor& down = tensor_of(writer, path + "ffn_down_exps.weight");
        const GgufWriter::Tensor stack = down;
        for (size_t expert = 0; expert < 4; ++expert) {
            const size_t bytes = stack.data.size() / 4;
            writer.tensors.push_back({path + "ffn_down." + std::to_string(expert) + ".weight",
                                      {32, 64},
                                      0,
                                      stack.data.substr(expert * bytes, bytes)});
        }
    }
    std::erase_if(writer.tensors,
                  [](const auto& t) { return t.name.ends_with("attn_k.weight") || t.name.ends_with("attn_v.weight"); });
    writer.write(folder / "mixed.gguf");
    // The stacks of gate and up beside experts apart are two forms.
    expect_error(ErrorCode::kInvalidFile, {"forms"}, [&] { Checkpoint::open(folder / "mixed.gguf"); });
    std::erase_if(writer.tensors, [](const auto& t) { return t.name.find("ffn_down.") != std::string::npos; });
    writer.write(folder / "fused.gguf");
    const auto fused = Checkpoint::open(folder / "fused.gguf");
    for (const Role role : {Role::kQuery, Role::kKey, Role::kValue}) {
        const WeightView a = plain->view(plain->weight(1, role)), b = fused->view(fused->weight(1, role));
        ASSERT_EQ(a.rows, b.rows);
        EXPECT_EQ(std::memcmp(a.data, b.data, a.format.data_bytes(a.rows, a.columns)), 0);
    }
}

TEST(PublishedGguf, NormsAreReadAsTheyAre) {
    const TemporaryFolder folder;
    testing::tiny_qwen35_moe().write(folder / "published");
    gguf_twin(folder / "published", TwinType::kF32).write(folder / "x.gguf");
    const auto published = Checkpoint::open(folder / "published"), twin = Checkpoint::open(folder / "x.gguf");
    EXPECT_EQ(published->vector(0, Role::kMixerNorm), twin->vector(0, Role::kMixerNorm));
    EXPECT_EQ(published->vector(1, Role::kQueryNorm), twin->vector(1, Role::kQueryNorm));
    EXPECT_TRUE(first_block<GatedDeltaNetConfig>(twin->config())->tiled_value_heads);
}

TEST(PublishedGguf, PartsAreOneModel) {
    const TemporaryFolder folder;
    const GgufWriter whole = tiny_twin(testing::tiny_qwen3_moe());
    whole.write(folder / "whole.gguf");
    const auto write_part = [&](int part, int count, size_t first, size_t end, int said_tensors) {
        GgufWriter writer = part == 0 ? whole : GgufWriter{};
        writer.tensors.assign(whole.tensors.begin() + static_cast<ptrdiff_t>(first),
                              whole.tensors.begin() + static_cast<ptrdiff_t>(end));
        writer.add("split.no", static_cast<uint16_t>(part));
        writer.add("split.count", static_cast<uint16_t>(count));
        writer.add("split.tensors.count", int32_t{said_tensors});
        writer.write(folder / fmt::format("x-{:05}-of-00003.gguf", part + 1));
    };
    const size_t all = whole.tensors.size();
    write_part(0, 3, 0, 0, static_cast<int>(all));  // metadata alone
    write_part(1, 3, 0, 5, static_cast<int>(all));
    expect_error(ErrorCode::kNotFound, {"x-00003-of-00003.gguf"}, [&] { read_gguf(folder / "x-00001-of-00003.gguf"); });
    write_part(2, 3, 5, all, static_cast<int>(all));
    EXPECT_EQ(read_published(folder / "x-00002-of-00003.gguf").files.size(), 3u);
    const auto parts = Checkpoint::open(folder / "x-00001-of-00003.gguf");
    EXPECT_EQ(parts->trunk_bytes(), Checkpoint::open(folder / "whole.gguf")->trunk_bytes());
    write_part(2, 3, 4, all, static_cast<int>(all) + 1);
    expect_error(ErrorCode::kInvalidFile, {"split.tensors.count"},
                 [&] { read_gguf(folder / "x-00001-of-00003.gguf"); });
    write_part(0, 3, 0, 0, static_cast<int>(all) + 1);
    expect_error(ErrorCode::kInvalidFile, {"another part"}, [&] { read_gguf(folder / "x-00001-of-00003.gguf"); });
    write_part(0, 2, 0, 0, static_cast<int>(all));
    expect_error(ErrorCode::kInvalidFile, {"split.count"}, [&] { read_gguf(folder / "x-00001-of-00003.gguf"); });
}

TEST(PublishedGguf, DataThatCannotBeTrueAreRefused) {
    const TemporaryFolder folder;
    const GgufWriter good = tiny_twin(testing::tiny_qwen3_moe());
    const auto expect_bad = [&](ErrorCode code, const std::vector<std::string>& parts, auto&& change) {
        GgufWriter bad = good;
        change(bad);
        bad.write(folder / "x.gguf");
        expect_error(code, parts, [&] { Checkpoint::open(folder / "x.gguf"); });
    };
    const std::string name = "blk.0.attn_q.weight";
    const auto with = [&](auto&& change) { return [&, change](GgufWriter& bad) { change(tensor_of(bad, name)); }; };
    const ErrorCode invalid = ErrorCode::kInvalidFile;
    expect_bad(invalid, {name, "past the file's"}, with([](auto& t) { t.offset = int64_t{1} << 50; }));
    expect_bad(invalid, {name, "alignment"}, with([](auto& t) { t.offset = 8; }));
    expect_bad(invalid, {"inside those of"}, with([](auto& t) { t.offset = 0; }));
    expect_bad(invalid, {name, "[32, 64]", "[64, 64]"}, with([](auto& t) { t.sizes = {64, 32}; }));
    expect_bad(invalid, {name, "blocks of 32"}, with([](auto& t) {
                   t.type = 8;
                   t.sizes = {60, 64};
               }));
    for (const uint32_t type : {4u, 31u, 43u, 137u, 1u << 31}) {
        expect_bad(ErrorCode::kUnsupported, {name, std::to_string(type)}, with([&](auto& t) { t.type = type; }));
    }
    expect_bad(ErrorCode::kUnsupported, {"biases"}, [](GgufWriter& bad) {
        bad.tensors.push_back({"blk.0.attn_q.bias", {64}, 0, std::string(256, '\0')});
    });
    expect_bad(ErrorCode::kUnsupported, {"factor"}, [](GgufWriter& bad) {
        bad.tensors.push_back({"blk.0.attn_q.scale", {1}, 0, std::string(4, '\0')});
    });
    for (const std::string missing : {"blk.0.attn_norm.weight", "blk.1.ffn_gate_exps.weight", "output_norm.weight"}) {
        expect_bad(ErrorCode::kNotFound, {missing}, [&](GgufWriter& bad) {
            std::erase_if(bad.tensors, [&](const auto& t) { return t.name == missing; });
        });
    }
    expect_bad(ErrorCode::kUnsupported, {"rope_freqs.weight", "frequencies"}, [](GgufWriter& bad) {
        bad.tensors.push_back({"rope_freqs.weight", {8}, 0, std::string(32, '\0')});
    });
}

TEST(PublishedGguf, WhatNobodyAskedForIsCounted) {
    const TemporaryFolder folder;
    GgufWriter writer = tiny_twin(testing::tiny_qwen3_moe());
    writer.tensors.push_back({"blk.0.odd.weight", {8}, 0, std::string(32, '\0')});
    writer.tensors.push_back({"odd\xff", {8}, 0, std::string(32, '\0')});
    writer.write(folder / "x.gguf");
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_EQ(checkpoint->skipped().size(), 1u);
    EXPECT_EQ(checkpoint->skipped()[0].count, 2u);
}

}  // namespace
}  // namespace sluice
