// The one catalogue behind every publisher's layout.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "base/file.h"
#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"
#include "tensor/float_types.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::TemporaryFolder;
using testing::tiny_deepseek_v3;
using testing::tiny_qwen35_moe;
using testing::tiny_qwen3_moe;
using testing::TinyCheckpoint;
using testing::TinyTensor;

std::shared_ptr<const Checkpoint> write_and_open(const TinyCheckpoint& tiny, const TemporaryFolder& folder,
                                                 size_t shards = 1) {
    tiny.write(folder.path(), shards);
    return Checkpoint::open(folder.path());
}

std::vector<std::byte> fill_slot(const Checkpoint& checkpoint, int layer, int expert) {
    std::vector<std::byte> slot(checkpoint.expert_layout(layer).record_bytes);
    for (const ExpertRead& read : checkpoint.expert_reads(layer, expert)) {
        const auto bytes = checkpoint.mapped(read.source);
        std::memcpy(slot.data() + read.slot_offset, bytes.data(), bytes.size());
    }
    return slot;
}

std::vector<float> decode_all(const WeightView& view) {
    std::vector<float> values(static_cast<size_t>(view.rows * view.columns));
    for (int64_t row = 0; row < view.rows; ++row) {
        decode_row(view, row, &values[static_cast<size_t>(row * view.columns)]);
    }
    return values;
}

std::vector<float> expert_values(const Checkpoint& checkpoint, int layer, int expert, Projection projection) {
    const std::vector<std::byte> slot = fill_slot(checkpoint, layer, expert);
    return decode_all(view_in_slot(projection_of(checkpoint.expert_layout(layer), projection), slot.data()));
}

std::vector<float> part_of(const std::vector<float>& values, size_t index, size_t count) {
    const auto size = static_cast<int64_t>(values.size() / count);
    const auto begin = values.begin() + static_cast<int64_t>(index) * size;
    return {begin, begin + size};
}

// MLX's conversion of the tiny Qwen3.5, unquantized: what its sanitizer does.
TinyCheckpoint mlx_of(const TinyCheckpoint& published) {
    TinyCheckpoint mlx = published;
    mlx.rename_prefix("model.language_model.", "language_model.model.");
    mlx.rename_prefix("lm_head.", "language_model.lm_head.");
    for (int layer = 0; layer < 2; ++layer) {
        const std::string path = fmt::format("language_model.model.layers.{}.", layer);
        TinyTensor gate_up = mlx.tensors.at(path + "mlp.experts.gate_up_proj");
        TinyTensor gate{DType::kBF16, {4, 32, 64}, {}};
        TinyTensor up = gate;
        const size_t half = gate_up.bytes.size() / 8;
        for (size_t i = 0; i < 8; ++i) {
            auto& target = i % 2 == 0 ? gate.bytes : up.bytes;
            target.insert(target.end(), gate_up.bytes.begin() + static_cast<int64_t>(i * half),
                          gate_up.bytes.begin() + static_cast<int64_t>((i + 1) * half));
        }
        mlx.tensors[path + "mlp.switch_mlp.gate_proj.weight"] = gate;
        mlx.tensors[path + "mlp.switch_mlp.up_proj.weight"] = up;
        mlx.tensors[path + "mlp.switch_mlp.down_proj.weight"] = mlx.tensors.at(path + "mlp.experts.down_proj");
        mlx.tensors.erase(path + "mlp.experts.gate_up_proj");
        mlx.tensors.erase(path + "mlp.experts.down_proj");
    }
    for (auto& [name, tensor] : mlx.tensors) {
        const bool norm = name.ends_with("layernorm.weight") || name.ends_with("model.norm.weight") ||
                          name.ends_with("q_norm.weight") || name.ends_with("k_norm.weight");
        if (norm) {
            const std::vector<float> values = mlx.values(name);
            for (size_t i = 0; i < values.size(); ++i) {
                store_unaligned(tensor.bytes.data() + 2 * i, float_to_bf16(values[i] + 1.0f));
            }
        }
        if (name.ends_with("conv1d.weight")) tensor.shape = {96, 4, 1};
    }
    return mlx;
}

TEST(Catalogue, PublishedAndConvertedLayoutsGiveTheSameModel) {
    const TinyCheckpoint published = tiny_qwen35_moe();
    const TemporaryFolder folder_a;
    const TemporaryFolder folder_b;
    const auto a = write_and_open(published, folder_a);
    const auto b = write_and_open(mlx_of(published), folder_b, 2);
    EXPECT_EQ(a->layout_name(), "Hugging Face");
    EXPECT_EQ(b->layout_name(), "MLX");
    EXPECT_EQ(a->trunk_bytes(), b->trunk_bytes());
    EXPECT_EQ(a->expert_bytes(), b->expert_bytes());
    EXPECT_TRUE(b->skipped().empty());
    EXPECT_NE(a->fingerprint(), b->fingerprint());
    EXPECT_EQ(a->vector(1, Role::kQueryNorm), b->vector(1, Role::kQueryNorm));
    EXPECT_EQ(a->vector(kNoLayer, Role::kFinalNorm), b->vector(kNoLayer, Role::kFinalNorm));
    EXPECT_EQ(a->vector(0, Role::kMixerNorm), b->vector(0, Role::kMixerNorm));
    EXPECT_EQ(a->vector(0, Role::kFeedForwardNorm), b->vector(0, Role::kFeedForwardNorm));
    EXPECT_EQ(a->vector(0, Role::kLinearConv), b->vector(0, Role::kLinearConv));
    EXPECT_EQ(a->vector(0, Role::kLinearNorm), b->vector(0, Role::kLinearNorm));
    EXPECT_EQ(decode_all(a->view(a->weight(kNoLayer, Role::kHead))),
              decode_all(b->view(b->weight(kNoLayer, Role::kHead))));
    for (int layer = 0; layer < 2; ++layer) {
        for (int expert = 0; expert < 4; ++expert) {
            EXPECT_EQ(fill_slot(*a, layer, expert), fill_slot(*b, layer, expert)) << layer << ' ' << expert;
        }
    }
}

TEST(Catalogue, BiasesOfLatentProjections) {
    TinyCheckpoint tiny = tiny_deepseek_v3();
    tiny.config["attention_bias"] = true;
    for (int layer = 0; layer < 2; ++layer) {
        const std::string path = fmt::format("model.layers.{}.self_attn.", layer);
        tiny.add(path + "q_a_proj.bias", {32});
        tiny.add(path + "kv_a_proj_with_mqa.bias", {40});
        tiny.add(path + "o_proj.bias", {64});
    }
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    const std::string path = "model.layers.1.self_attn.";
    EXPECT_EQ(checkpoint->vector(1, Role::kQueryLatentBias), tiny.values(path + "q_a_proj.bias"));
    EXPECT_EQ(checkpoint->vector(1, Role::kKeyValueLatentBias), tiny.values(path + "kv_a_proj_with_mqa.bias"));
    EXPECT_EQ(checkpoint->vector(1, Role::kOutputBias), tiny.values(path + "o_proj.bias"));
    EXPECT_TRUE(checkpoint->skipped().empty());
    tiny.tensors.erase(path + "kv_a_proj_with_mqa.bias");
    const TemporaryFolder other;
    testing::expect_error(ErrorCode::kNotFound, {path + "kv_a_proj_with_mqa.bias"},
                          [&] { write_and_open(tiny, other); });
}

// 1 is added to the norms of the publisher's layout, never to the norm inside linear attention, nor to other vectors.
TEST(Catalogue, OffsetsOfNorms) {
    const TinyCheckpoint tiny = tiny_qwen35_moe();
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    const std::string prefix = "model.language_model.";
    std::vector<float> norm = tiny.values(prefix + "layers.1.self_attn.k_norm.weight");
    for (float& value : norm) value += 1.0f;
    EXPECT_EQ(checkpoint->vector(1, Role::kKeyNorm), norm);
    EXPECT_EQ(checkpoint->vector(0, Role::kLinearNorm), tiny.values(prefix + "layers.0.linear_attn.norm.weight"));
    EXPECT_EQ(checkpoint->vector(0, Role::kLinearDtBias), tiny.values(prefix + "layers.0.linear_attn.dt_bias"));
    EXPECT_EQ(checkpoint->vector(0, Role::kLinearConv), tiny.values(prefix + "layers.0.linear_attn.conv1d.weight"));
    const TemporaryFolder other;
    const TinyCheckpoint plain = tiny_qwen3_moe();
    EXPECT_EQ(write_and_open(plain, other)->vector(1, Role::kKeyNorm),
              plain.values("model.layers.1.self_attn.k_norm.weight"));
}

TEST(Catalogue, ExpertsOneByOne) {
    const TinyCheckpoint tiny = tiny_qwen3_moe();
    for (const size_t shards : {size_t{1}, size_t{3}}) {
        const TemporaryFolder folder;
        const auto checkpoint = write_and_open(tiny, folder, shards);
        EXPECT_EQ(checkpoint->files().size(), shards);
        EXPECT_EQ(checkpoint->quantization_name(), "BF16");
        EXPECT_EQ(checkpoint->expert_bytes(), 2u * 4 * 3 * 32 * 64 * 2);
        EXPECT_EQ(checkpoint->expert_checksum(0, 0), std::nullopt);
        for (int expert = 0; expert < 4; ++expert) {
            const std::string module = fmt::format("model.layers.1.mlp.experts.{}.", expert);
            EXPECT_EQ(expert_values(*checkpoint, 1, expert, Projection::kGate),
                      tiny.values(module + "gate_proj.weight"));
            EXPECT_EQ(expert_values(*checkpoint, 1, expert, Projection::kUp), tiny.values(module + "up_proj.weight"));
            EXPECT_EQ(expert_values(*checkpoint, 1, expert, Projection::kDown),
                      tiny.values(module + "down_proj.weight"));
        }
    }
}

TEST(Catalogue, FusedExpertsAreTwoReads) {
    const TinyCheckpoint tiny = tiny_qwen35_moe();
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    const std::string path = "model.language_model.layers.1.mlp.experts.";
    const std::vector<float> gate_up = tiny.values(path + "gate_up_proj");
    for (size_t expert = 0; expert < 4; ++expert) {
        const std::vector<ExpertRead> reads = checkpoint->expert_reads(1, static_cast<int>(expert));
        ASSERT_EQ(reads.size(), 2u);
        EXPECT_LT(reads[0].source.offset, reads[1].source.offset);
        const auto number = static_cast<int>(expert);
        EXPECT_EQ(expert_values(*checkpoint, 1, number, Projection::kGate), part_of(gate_up, 2 * expert, 8));
        EXPECT_EQ(expert_values(*checkpoint, 1, number, Projection::kUp), part_of(gate_up, 2 * expert + 1, 8));
        EXPECT_EQ(expert_values(*checkpoint, 1, number, Projection::kDown),
                  part_of(tiny.values(path + "down_proj"), expert, 4));
    }
}

TEST(Catalogue, QuantizedStacksWithOverrides) {
    TinyCheckpoint tiny = mlx_of(tiny_qwen35_moe());
    const std::string path = "language_model.model.layers.1.mlp.switch_mlp.";
    const std::vector<float> down = tiny.values(path + "down_proj.weight");
    for (int layer = 0; layer < 2; ++layer) {
        for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
            const bool eight = layer == 1 && std::string_view(projection) == "down_proj";
            tiny.quantize(fmt::format("language_model.model.layers.{}.mlp.switch_mlp.{}", layer, projection),
                          WeightFormat::affine(eight ? 8 : 4, 32, DType::kF16));
        }
    }
    tiny.quantize("language_model.model.layers.0.mlp.gate", WeightFormat::affine(8, 64, DType::kF16));
    tiny.config["quantization"] = {{"group_size", 32},
                                   {"bits", 4},
                                   {path + "down_proj", {{"group_size", 32}, {"bits", 8}}},
                                   {"language_model.model.layers.0.mlp.gate", {{"group_size", 64}, {"bits", 8}}},
                                   {"language_model.model.layers.1.mlp.gate", false}};
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    EXPECT_EQ(checkpoint->quantization_name(), "affine 4-bit, group 32 and affine 8-bit, group 32");
    EXPECT_EQ(checkpoint->weight(0, Role::kRouter).format, WeightFormat::affine(8, 64, DType::kF16));
    EXPECT_EQ(checkpoint->weight(1, Role::kRouter).format, WeightFormat::floating(DType::kBF16));
    EXPECT_EQ(checkpoint->expert_layout(0).down.format.bits, 4);
    EXPECT_EQ(checkpoint->expert_layout(1).down.format.bits, 8);
    EXPECT_EQ(checkpoint->expert_reads(1, 2).size(), 9u);
    const std::vector<float> decoded = expert_values(*checkpoint, 1, 2, Projection::kDown);
    const std::vector<float> expected = part_of(down, 2, 4);
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(decoded[i], expected[i], 0.02f);
}

TEST(Catalogue, FusedFp8Experts) {
    TinyCheckpoint tiny = tiny_qwen35_moe();
    const std::string path = "model.language_model.layers.0.mlp.experts.";
    tiny.add(path + "gate_up_proj", {4, 64, 64}, DType::kF8E4M3);
    tiny.add(path + "gate_up_proj_scale_inv", {4, 4, 1}, DType::kF32);
    tiny.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {16, 128}}};
    auto& data = tiny.tensors[path + "gate_up_proj"].bytes;
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(0x30 + i % 16);
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    const auto& scales = tiny.tensors[path + "gate_up_proj_scale_inv"].bytes;
    const std::vector<float> up = expert_values(*checkpoint, 0, 3, Projection::kUp);
    // Row 20 of expert 3's up: row 32 + 20 of its 64, in the fourth block of rows.
    const float scale = load_unaligned<float>(scales.data() + 4 * (3 * 4 + 3));
    for (size_t c = 0; c < 64; ++c) {
        EXPECT_EQ(up[20 * 64 + c], e4m3_to_float(static_cast<uint8_t>(0x30 + c % 16)) * scale);
    }
    tiny.config["quantization_config"]["weight_block_size"] = {48, 128};
    tiny.add(path + "gate_up_proj_scale_inv", {4, 2, 1}, DType::kF32);
    tiny.write(folder.path());
    testing::expect_error(ErrorCode::kUnsupported, {path + "gate_up_proj", "48 rows"},
                          [&] { Checkpoint::open(folder.path()); });
    // One block for gate and up together.
    tiny.config["quantization_config"]["weight_block_size"] = {64, 128};
    tiny.add(path + "gate_up_proj_scale_inv", {4, 1, 1}, DType::kF32);
    const TemporaryFolder other;
    const std::vector<float> common = expert_values(*write_and_open(tiny, other), 0, 3, Projection::kUp);
    const float factor = load_unaligned<float>(tiny.tensors[path + "gate_up_proj_scale_inv"].bytes.data() + 4 * 3);
    for (size_t c = 0; c < 64; ++c) {
        EXPECT_EQ(common[20 * 64 + c], e4m3_to_float(static_cast<uint8_t>(0x30 + c % 16)) * factor);
    }
}

TEST(Catalogue, TiedHead) {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    const TemporaryFolder folder;
    const uint64_t untied_bytes = write_and_open(tiny, folder)->trunk_bytes();
    const uint64_t head_bytes = tiny.tensors.at("lm_head.weight").bytes.size();
    // Said by config.json: a head that is stored all the same is not used.
    tiny.config["tie_word_embeddings"] = true;
    auto checkpoint = write_and_open(tiny, folder);
    EXPECT_TRUE(checkpoint->config().tied_embeddings);
    EXPECT_EQ(checkpoint->weight(kNoLayer, Role::kHead).name, "model.embed_tokens.weight");
    EXPECT_EQ(checkpoint->trunk_bytes(), untied_bytes - head_bytes);
    ASSERT_EQ(checkpoint->skipped().size(), 1u);
    EXPECT_EQ(checkpoint->skipped().front().example, "lm_head.weight");
    // Not said, but there is no head.
    tiny.config["tie_word_embeddings"] = false;
    tiny.tensors.erase("lm_head.weight");
    checkpoint = write_and_open(tiny, folder);
    EXPECT_TRUE(checkpoint->config().tied_embeddings);
    EXPECT_TRUE(checkpoint->has(kNoLayer, Role::kHead));
    EXPECT_EQ(checkpoint->trunk_bytes(), untied_bytes - head_bytes);
}

TEST(Catalogue, LatentAttentionWholeAndSplit) {
    TinyCheckpoint tiny = tiny_deepseek_v3();
    const TemporaryFolder folder;
    auto checkpoint = write_and_open(tiny, folder);
    EXPECT_TRUE(checkpoint->has(0, Role::kKeyValueFromLatent));
    EXPECT_FALSE(checkpoint->has(0, Role::kKeyFold));
    EXPECT_TRUE(checkpoint->has(0, Role::kDenseGate));
    EXPECT_FALSE(checkpoint->has(0, Role::kRouter));
    EXPECT_EQ(checkpoint->vector(1, Role::kRouterCorrection).size(), 8u);
    const std::string path = "model.layers.1.self_attn.";
    tiny.tensors.erase(path + "kv_b_proj.weight");
    tiny.add(path + "embed_q.weight", {2, 32, 32});
    tiny.add(path + "unembed_out.weight", {2, 16, 32});
    tiny.quantize(path + "unembed_out", WeightFormat::affine(4, 32, DType::kBF16));
    tiny.config["quantization"] = {{"group_size", 32}, {"bits", 4}};
    checkpoint = write_and_open(tiny, folder);
    EXPECT_FALSE(checkpoint->has(1, Role::kKeyValueFromLatent));
    EXPECT_EQ(checkpoint->weight(1, Role::kKeyFold).rows, 64);
    EXPECT_EQ(checkpoint->weight(1, Role::kKeyFold).columns, 32);
    EXPECT_EQ(checkpoint->weight(1, Role::kValueUnfold).rows, 32);
    EXPECT_EQ(checkpoint->weight(1, Role::kValueUnfold).format.bits, 4);
    EXPECT_EQ(decode_all(checkpoint->view(checkpoint->weight(1, Role::kKeyFold))),
              tiny.values(path + "embed_q.weight"));
}

TEST(Catalogue, SingleQueryProjection) {
    TinyCheckpoint tiny = tiny_deepseek_v3();
    tiny.config["q_lora_rank"] = nullptr;
    for (int layer = 0; layer < 2; ++layer) {
        const std::string path = fmt::format("model.layers.{}.self_attn.", layer);
        for (const char* name : {"q_a_proj", "q_a_layernorm", "q_b_proj"}) tiny.tensors.erase(path + name + ".weight");
        tiny.add(path + "q_proj.weight", {80, 64});
    }
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    EXPECT_EQ(checkpoint->weight(1, Role::kQuery).rows, 80);
    EXPECT_FALSE(checkpoint->has(1, Role::kQueryLatent));
}

TEST(Catalogue, FusedLinearProjections) {
    TinyCheckpoint tiny = tiny_qwen35_moe();
    tiny.config = tiny.config["text_config"];
    tiny.config["model_type"] = "qwen3_next";
    tiny.rename_prefix("model.language_model.", "model.");
    const std::string path = "model.layers.0.linear_attn.";
    for (const char* name : {"in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"})
        tiny.tensors.erase(path + name + ".weight");
    tiny.add(path + "in_proj_qkvz.weight", {160, 64});
    tiny.add(path + "in_proj_ba.weight", {8, 64});
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    EXPECT_EQ(checkpoint->weight(0, Role::kLinearQkvz).rows, 160);
    EXPECT_FALSE(checkpoint->has(0, Role::kLinearQkv));
}

TEST(Catalogue, SkippedTensorsAreCounted) {
    TinyCheckpoint tiny = tiny_qwen35_moe();
    tiny.add("model.visual.blocks.0.attn.qkv.weight", {8, 8});
    tiny.add("vision_tower.patch.weight", {4});
    tiny.add("mtp.fc.weight", {8, 8});
    tiny.add("model.language_model.layers.0.self_attn.rotary_emb.inv_freq", {4}, DType::kF32);
    const TemporaryFolder folder;
    const auto checkpoint = write_and_open(tiny, folder);
    std::map<std::string, SkippedTensors> groups;
    for (const SkippedTensors& group : checkpoint->skipped()) groups[group.reason] = group;
    ASSERT_EQ(groups.size(), 3u);
    EXPECT_EQ(groups["vision tower"].count, 2u);
    EXPECT_EQ(groups["vision tower"].bytes, 136u);
    EXPECT_EQ(groups["multi-token prediction"].example, "mtp.fc.weight");
    EXPECT_EQ(groups["not used by this architecture"].bytes, 16u);
}

TEST(Catalogue, FingerprintTellsModelsApart) {
    const TemporaryFolder folder;
    TinyCheckpoint tiny = tiny_qwen3_moe();
    const std::string first = write_and_open(tiny, folder)->fingerprint();
    EXPECT_EQ(write_and_open(tiny, folder)->fingerprint(), first);
    tiny.config["rms_norm_eps"] = 2e-6;
    EXPECT_NE(write_and_open(tiny, folder)->fingerprint(), first);
    tiny.config.erase("rms_norm_eps");
    tiny.add("extra", {1});
    EXPECT_NE(write_and_open(tiny, folder)->fingerprint(), first);
}

// The experts of a model of 60 layers with 512 experts each, one tensor per projection; the data is a hole in the file,
// which a read of it at open would not notice but its time would show.
TEST(Catalogue, OpensAHundredThousandTensorsQuickly) {
    constexpr int kLayers = 60;
    constexpr int kExperts = 512;
    TinyCheckpoint tiny = tiny_qwen3_moe();
    tiny.config["num_hidden_layers"] = kLayers;
    tiny.config["num_experts"] = kExperts;
    std::string header = "{";
    uint64_t offset = 0;
    const auto declare = [&](const std::string& name, const std::vector<int64_t>& shape) {
        uint64_t bytes = 2;
        for (const int64_t size : shape) bytes *= static_cast<uint64_t>(size);
        header +=
            fmt::format("{}\"{}\":{{\"dtype\":\"BF16\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                        header.size() == 1 ? "" : ",", name, nlohmann::json(shape).dump(), offset, offset + bytes);
        offset += bytes;
    };
    for (const auto& [name, tensor] : tiny.tensors) {
        if (name.find("layers.") == std::string::npos) declare(name, tensor.shape);
    }
    for (int layer = 0; layer < kLayers; ++layer) {
        const std::string path = fmt::format("model.layers.{}.", layer);
        for (const auto& [name, tensor] : tiny.tensors) {
            const bool trunk = name.starts_with("model.layers.0.") && name.find(".experts.") == std::string::npos;
            if (!trunk) continue;
            const bool router = name.ends_with("mlp.gate.weight");
            declare(path + name.substr(15), router ? std::vector<int64_t>{kExperts, 64} : tensor.shape);
        }
        for (int expert = 0; expert < kExperts; ++expert) {
            const std::string module = fmt::format("{}mlp.experts.{}.", path, expert);
            declare(module + "down_proj.weight", {64, 32});
            declare(module + "gate_proj.weight", {32, 64});
            declare(module + "up_proj.weight", {32, 64});
        }
    }
    header += "}";
    const TemporaryFolder folder;
    write_text_file(folder / "config.json", tiny.config.dump());
    std::string text(8, '\0');
    for (size_t i = 0; i < 8; ++i) text[i] = static_cast<char>(header.size() >> (8 * i));
    write_text_file(folder / "model.safetensors", text + header);
    std::filesystem::resize_file(folder / "model.safetensors", 8 + header.size() + offset);
    const uint64_t resident = resident_bytes();
    const auto start = std::chrono::steady_clock::now();
    const auto checkpoint = Checkpoint::open(folder.path());
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_LT(elapsed.count(), 20.0);  // about half a second in a release build
    EXPECT_LT(resident_bytes() - std::min(resident, resident_bytes()), uint64_t{256} << 20);
    EXPECT_EQ(checkpoint->expert_bytes(), uint64_t{kLayers} * kExperts * 3 * 4096);
    // gate and up follow each other in the file and in the slot.
    EXPECT_EQ(checkpoint->expert_reads(59, 511).size(), 2u);
}

}  // namespace
}  // namespace sluice
