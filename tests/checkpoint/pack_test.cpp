#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/folder_lock.h"
#include "base/memory.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/safetensors.h"
#include "sluice/pack.h"
#include "tensor/codecs.h"
#include "tests/checkpoint/packed_values.h"
#include "tests/support/golden_case.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_shapes.h"

namespace sluice::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::filesystem::path synthesized(const TemporaryFolder& folder, const std::string& preset, SynthEncoding encoding) {
    const std::filesystem::path model = folder / "source";
    synthesize_shape(model, tiny_shape(preset, 4), encoding, 1);
    return model;
}

nlohmann::json config_of(const std::filesystem::path& model) {
    return nlohmann::json::parse(read_text_file(model / "config.json"));
}

struct Source {
    std::string preset;
    SynthEncoding encoding;
};

class PackMoves : public ::testing::TestWithParam<Source> {};

TEST_P(PackMoves, EveryWeightAndAlignsTheRecords) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, GetParam().preset, GetParam().encoding);
    const PackReport report = pack(source, folder / "packed", {});
    const auto before = Checkpoint::open(source), after = Checkpoint::open(folder / "packed");
    EXPECT_TRUE(after->packed());
    EXPECT_EQ(after->quantization_name(), before->quantization_name());
    EXPECT_THAT(after->skipped(), IsEmpty());
    expect_same_weights(*before, *after);
    EXPECT_GT(report.records, 0u);
    for (int layer = 0; layer < after->config().layer_count(); ++layer) {
        if (after->config().mixture_of(layer) == nullptr) continue;
        for (int expert = 0; expert < after->config().experts(); ++expert) {
            const std::vector<ExpertRead> reads = after->expert_reads(layer, expert);
            ASSERT_EQ(reads.size(), 1u);
            EXPECT_EQ(reads[0].source.offset % kPageBytes, 0u);
            EXPECT_EQ(reads[0].source.bytes, after->expert_layout(layer).record_bytes);
        }
    }
    EXPECT_EQ(verify_packed(folder / "packed").records, report.records);
}

INSTANTIATE_TEST_SUITE_P(All, PackMoves,
                         ::testing::Values(Source{"qwen3-30b-a3b", SynthEncoding::kAffine4},
                                           Source{"qwen3-next-80b-a3b", SynthEncoding::kBf16},
                                           Source{"qwen3.6-35b-a3b", SynthEncoding::kBf16},
                                           Source{"qwen3.5-397b-a17b", SynthEncoding::kAffine8},
                                           Source{"deepseek-v3", SynthEncoding::kFp8},
                                           Source{"deepseek-v3", SynthEncoding::kAffine4},
                                           Source{"kimi-k2", SynthEncoding::kAffine4}),
                         [](const auto& source) { return std::to_string(source.index); });

class PackQuantizes : public ::testing::TestWithParam<Source> {};

// Uniform levels over a group's range: half a step at most, so for normal weights and groups of 64 some 9 % of their
// deviation at 4 bits and a sixteenth of that at 8.
TEST_P(PackQuantizes, WithinTheErrorOfItsBits) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, GetParam().preset, GetParam().encoding);
    const auto before = Checkpoint::open(source);
    for (const auto& [name, bits, least, most] : {std::tuple{"affine4", 4, 0.03, 0.12}, {"affine8", 8, 0.001, 0.01}}) {
        const auto target = folder / name;
        pack(source, target, {.quantize = name, .group_size = 64});
        verify_packed(target);
        const auto after = Checkpoint::open(target);
        EXPECT_EQ(after->quantization_name(), "affine " + std::to_string(bits) + "-bit, group 64");
        for (const Projection projection : kProjections) {
            const double error =
                relative_error(expert_values(*after, 3, 7, projection), expert_values(*before, 3, 7, projection));
            EXPECT_GT(error, least) << name << " " << projection_name(projection);
            EXPECT_LT(error, most) << name << " " << projection_name(projection);
        }
        EXPECT_LT(
            relative_error(trunk_values(*after, kNoLayer, Role::kHead), trunk_values(*before, kNoLayer, Role::kHead)),
            most);
        // Norms and the like are what they were.
        EXPECT_EQ(after->vector(2, Role::kMixerNorm), before->vector(2, Role::kMixerNorm));
        const double router =
            relative_error(trunk_values(*after, 3, Role::kRouter), trunk_values(*before, 3, Role::kRouter));
        const bool deepseek = before->config().mixture_of(3)->routing.corrected;
        EXPECT_LT(router, deepseek ? 1e-9 : 0.01);
        const nlohmann::json table = config_of(target).at("quantization");
        EXPECT_EQ(table.at("bits"), bits);
        EXPECT_EQ(table.at("group_size"), 64);
        EXPECT_EQ(config_of(target).at("quantization_config"), table);
    }
}

INSTANTIATE_TEST_SUITE_P(
    All, PackQuantizes,
    ::testing::Values(Source{"qwen3-30b-a3b", SynthEncoding::kBf16}, Source{"qwen3-next-80b-a3b", SynthEncoding::kBf16},
                      Source{"qwen3.6-35b-a3b", SynthEncoding::kBf16}, Source{"deepseek-v3", SynthEncoding::kBf16},
                      Source{"deepseek-v3", SynthEncoding::kFp8}, Source{"kimi-k2", SynthEncoding::kFp8}),
    [](const auto& source) { return std::to_string(source.index); });

TEST(Pack, KeepsTheGatesOfQwenAtEightBits) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3.6-35b-a3b", SynthEncoding::kBf16);
    const PackReport report = pack(source, folder / "packed", {.quantize = "affine4"});
    EXPECT_THAT(report.quantization, HasSubstr("gates at 8 bits"));
    const auto packed = Checkpoint::open(folder / "packed");
    EXPECT_EQ(packed->weight(1, Role::kRouter).format.bits, 8);
    EXPECT_EQ(packed->weight(1, Role::kSharedExpertGate).format.bits, 8);
    EXPECT_EQ(packed->weight(1, Role::kLinearA).format.bits, 8);
    EXPECT_EQ(packed->weight(1, Role::kLinearQkv).format.bits, 4);
    EXPECT_EQ(config_of(folder / "packed").at("quantization").at("model.language_model.layers.1.mlp.gate").at("bits"),
              8);
}

void set_expert_intermediate(SynthShape& shape, int64_t intermediate) {
    change_blocks<MixtureConfig>(shape.config, [&](MixtureConfig& mixture) { mixture.intermediate = intermediate; });
}

TEST(Pack, UsesASmallerGroupOrNoneWhereColumnsAskForIt) {
    const TemporaryFolder folder;
    SynthShape shape = tiny_shape("qwen3-30b-a3b", 2);
    set_expert_intermediate(shape, 96);  // down_proj: groups of 32
    synthesize_shape(folder / "a", shape, SynthEncoding::kBf16, 1);
    EXPECT_THAT(pack(folder / "a", folder / "a4", {.quantize = "affine4"}).quantization, HasSubstr("smaller groups"));
    EXPECT_EQ(Checkpoint::open(folder / "a4")->expert_layout(0).down.format.group_size, 32);
    EXPECT_EQ(Checkpoint::open(folder / "a4")->expert_layout(0).gate.format.group_size, 64);

    set_expert_intermediate(shape, 80);  // none divides it
    synthesize_shape(folder / "b", shape, SynthEncoding::kBf16, 1);
    EXPECT_THAT(pack(folder / "b", folder / "b4", {.quantize = "affine4"}).quantization, HasSubstr("not quantized"));
    const auto before = Checkpoint::open(folder / "b"), after = Checkpoint::open(folder / "b4");
    EXPECT_EQ(after->expert_layout(0).down.format.codec, &kFloatCodec);
    EXPECT_EQ(expert_values(*after, 1, 2, Projection::kDown), expert_values(*before, 1, 2, Projection::kDown));
    verify_packed(folder / "b4");
}

TEST(Pack, EncodesALargeMatrixInPieces) {
    const TemporaryFolder folder;
    SynthShape shape = tiny_shape("deepseek-v3", 2);
    shape.dense_intermediate = 65500;  // over 8 million weights, and its last FP8 block is ragged
    change_blocks<DenseMlpConfig>(shape.config, [](DenseMlpConfig& mlp) { mlp.intermediate = 65500; });
    synthesize_shape(folder / "source", shape, SynthEncoding::kFp8, 1);
    pack(folder / "source", folder / "packed", {.quantize = "affine8"});
    const auto before = Checkpoint::open(folder / "source"), after = Checkpoint::open(folder / "packed");
    const std::vector<float> expected = trunk_values(*before, 0, Role::kDenseGate);
    const std::vector<float> values = trunk_values(*after, 0, Role::kDenseGate);
    ASSERT_GT(expected.size(), 8u << 20);
    EXPECT_LT(relative_error(values, expected), 0.01);
    const auto tail = static_cast<ptrdiff_t>(expected.size() - 192 * 100);
    EXPECT_LT(relative_error({values.begin() + tail, values.end()}, {expected.begin() + tail, expected.end()}), 0.01);
}

TEST(Pack, LeavesFp8WhereNoGroupFits) {
    const TemporaryFolder folder;
    SynthShape shape = tiny_shape("deepseek-v3", 2);
    change_blocks<MixtureConfig>(
        shape.config, [](MixtureConfig& mixture) { mixture.intermediate = mixture.shared_intermediate = 80; });
    synthesize_shape(folder / "source", shape, SynthEncoding::kFp8, 1);
    pack(folder / "source", folder / "packed", {.quantize = "affine8"});
    const auto before = Checkpoint::open(folder / "source"), after = Checkpoint::open(folder / "packed");
    EXPECT_EQ(after->weight(1, Role::kSharedDown).format.codec, &kFp8BlockCodec);
    EXPECT_EQ(after->weight(1, Role::kSharedUp).format.codec, &kAffineCodec);
    EXPECT_EQ(trunk_values(*after, 1, Role::kSharedDown), trunk_values(*before, 1, Role::kSharedDown));
    EXPECT_EQ(config_of(folder / "packed").at("quantization").at("model.layers.1.mlp.shared_experts.down_proj"), false);
    verify_packed(folder / "packed");
}

TEST(Pack, IsPlainSafetensorsWithZerosBetweenTheParts) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kAffine4);
    pack(source, folder / "packed", {});
    const auto reader = SafetensorsReader::open(folder / "packed" / "model.safetensors");
    const SafetensorsEntry& entry = reader.entry("sluice.layers.2.experts");
    const auto packed = Checkpoint::open(folder / "packed");
    const ExpertLayout& layout = packed->expert_layout(2);
    EXPECT_EQ(entry.dtype, DType::kU8);
    EXPECT_EQ(entry.shape, (std::vector<int64_t>{16, static_cast<int64_t>(layout.record_bytes)}));
    EXPECT_EQ(reader.header().metadata.at("sluice.packed"), "2");
    const auto record = reader.bytes(entry.name).subspan(5 * layout.record_bytes, layout.record_bytes);
    EXPECT_EQ(record_checksum(record), packed->expert_checksum(2, 5));
    const uint64_t end =
        layout.down.zero_points + layout.down.format.zero_point_bytes(layout.down.rows, layout.down.columns);
    ASSERT_LT(end, layout.record_bytes);
    for (uint64_t i = end; i < layout.record_bytes; ++i) ASSERT_EQ(record[i], std::byte{0});
    EXPECT_TRUE(reader.has("model.layers.2.self_attn.q_proj.scales"));
    EXPECT_FALSE(reader.has("model.layers.2.mlp.switch_mlp.gate_proj.weight"));
}

TEST(Pack, CopiesTheTokenizerAndLeavesStrangersBehind) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kAffine4);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "notes.txt"}) {
        write_text_file(source / name, name);
    }
    pack(source, folder / "packed", {});
    EXPECT_THAT(files_in(folder / "packed"),
                ::testing::ElementsAre("chat_template.jinja", "config.json", "generation_config.json",
                                       "model.safetensors", "tokenizer.json", "tokenizer_config.json"));
    EXPECT_EQ(read_text_file(folder / "packed" / "tokenizer.json"), "tokenizer.json");
}

TEST(Pack, LeavesSkippedTensorsBehind) {
    const TemporaryFolder folder;
    TinyCheckpoint tiny = tiny_qwen35_moe();
    tiny.add("model.visual.blocks.0.attn.qkv.weight", {8, 8});
    tiny.add("mtp.fc.weight", {8, 8});
    tiny.write(folder / "source", 2);
    ASSERT_EQ(Checkpoint::open(folder / "source")->skipped().size(), 2u);
    pack(folder / "source", folder / "packed", {});
    const auto before = Checkpoint::open(folder / "source"), after = Checkpoint::open(folder / "packed");
    EXPECT_THAT(after->skipped(), IsEmpty());
    expect_same_weights(*before, *after);
}

TEST(Pack, APackedCheckpointAgainGivesTheSame) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "deepseek-v3", SynthEncoding::kBf16);
    pack(source, folder / "once", {.quantize = "affine4", .group_size = 32});
    pack(folder / "once", folder / "twice", {});
    expect_same_weights(*Checkpoint::open(folder / "once"), *Checkpoint::open(folder / "twice"));
    verify_packed(folder / "twice");
}

TEST(Pack, RefusesWhatIsQuantizedAlready) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kAffine4);
    expect_error(ErrorCode::kUnsupported, {"affine 4-bit, group 64 already", "`quantize` none"},
                 [&] { pack(source, folder / "packed", {.quantize = "affine8"}); });
    EXPECT_FALSE(std::filesystem::exists(folder / "packed"));
}

TEST(Pack, RefusesOptionsAndFoldersThatMakeNoSense) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kBf16);
    expect_error(ErrorCode::kUsage, {"`quantize` int4", "affine4"},
                 [&] { pack(source, folder / "packed", {.quantize = "int4"}); });
    expect_error(ErrorCode::kUsage, {"`group_size` 48", "64"},
                 [&] { pack(source, folder / "packed", {.quantize = "affine4", .group_size = 48}); });
    expect_error(ErrorCode::kUsage, {"onto itself"}, [&] { pack(source, source, {}); });
    expect_error(ErrorCode::kNotFound, {"missing"}, [&] { pack(folder / "missing", folder / "packed", {}); });
    expect_error(ErrorCode::kUsage, {"source", "pack it first"}, [&] { verify_packed(source); });
    const auto other = folder / "other";
    synthesize_shape(other, tiny_shape("deepseek-v3", 2), SynthEncoding::kBf16, 1);
    const std::string before = read_text_file(other / "config.json");
    expect_error(ErrorCode::kUsage, {"other"}, [&] { pack(source, other, {}); });
    EXPECT_EQ(read_text_file(other / "config.json"), before);
    EXPECT_EQ(Checkpoint::open(other)->config().layer_count(), 2);
}

TEST(Pack, LeavesAFolderAloneThatAnotherProgramPacksInto) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kAffine4);
    std::filesystem::create_directory(folder / "packed");
    const std::filesystem::path written = folder / "packed" / "model.safetensors.tmp-1";
    write_text_file(written, "by somebody else");
    {
        const FolderLock held(folder / "packed");
        expect_error(ErrorCode::kUsage, {"packed", "another program"}, [&] { pack(source, folder / "packed", {}); });
        EXPECT_TRUE(std::filesystem::exists(written));
    }
    pack(source, folder / "packed", {});
    EXPECT_FALSE(std::filesystem::exists(written));
}

TEST(Pack, NamesAWeightThatIsNotANumber) {
    const TemporaryFolder folder;
    for (const char* name : {"model.layers.1.mlp.experts.3.up_proj.weight", "model.layers.0.self_attn.o_proj.weight"}) {
        TinyCheckpoint tiny = tiny_qwen3_moe();
        std::vector<std::byte>& bytes = tiny.tensors.at(name).bytes;
        bytes[10] = std::byte{0xc0};  // 0x7fc0: a NaN
        bytes[11] = std::byte{0x7f};
        tiny.write(folder / "source");
        const bool expert = std::string(name).find("experts") != std::string::npos;
        const std::string part = expert ? "layer 1, expert 3, up_proj" : "o_proj";
        expect_error(ErrorCode::kInvalidFile, {part, "row 0"},
                     [&] { pack(folder / "source", folder / "packed", {.quantize = "affine4", .group_size = 32}); });
        EXPECT_THAT(files_in(folder / "packed"), IsEmpty());
    }
}

TEST(Pack, ReportsATargetThatCannotBeWritten) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kAffine4);
    expect_error(ErrorCode::kIo, {"/proc/no-such-place"}, [&] { pack(source, "/proc/no-such-place", {}); });
    write_text_file(folder / "file", "not a folder");
    expect_error(ErrorCode::kIo, {"file"}, [&] { pack(source, folder / "file", {}); });

    // A limit on the size of files stands in for a full drive.
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
    const rlimit small{100'000, old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_error(ErrorCode::kIo, {"packed", "File too large"}, [&] { pack(source, folder / "packed", {}); });
    ::setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_THAT(files_in(folder / "packed"), IsEmpty());
}

void flip(const std::filesystem::path& file, uint64_t offset) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(stream.get() ^ 1);
    stream.seekp(static_cast<std::streamoff>(offset));
    stream.put(byte);
}

constexpr int kFolders = 3;

class PackShares : public ::testing::Test {
  protected:
    void SetUp() override {
        const auto source = synthesized(folder_, "qwen3.6-35b-a3b", SynthEncoding::kBf16);
        whole_ = pack(source, folder_ / "whole", {});
        for (int k = 1; k <= kFolders; ++k) shares_.push_back(pack(source, share(k), options(k)));
    }
    static PackOptions options(int k) {
        return {.quantize = "none", .group_size = 64, .shard = std::to_string(k) + "/" + std::to_string(kFolders)};
    }
    std::filesystem::path share(int k) const { return folder_ / std::to_string(k); }
    static std::vector<std::byte> record(const Checkpoint& checkpoint, int layer, int expert) {
        const ByteRange range = checkpoint.expert_reads(layer, expert).front().source;
        std::vector<std::byte> bytes(range.bytes);
        File::open(checkpoint.files()[range.file].path).read_at(range.offset, bytes);
        return bytes;
    }

    TemporaryFolder folder_;
    PackReport whole_;
    std::vector<PackReport> shares_;
};

TEST_F(PackShares, HoldEveryRecordOnceAndTheWholeTrunk) {
    const auto whole = Checkpoint::open(folder_ / "whole");
    std::vector<std::shared_ptr<const Checkpoint>> parts;
    uint64_t records = 0;
    for (int k = 1; k <= kFolders; ++k) {
        parts.push_back(Checkpoint::open(share(k)));
        records += shares_[static_cast<size_t>(k - 1)].records;
        EXPECT_EQ(parts.back()->origin(), whole->origin());
        EXPECT_EQ(parts.back()->trunk_bytes(), whole->trunk_bytes());
        EXPECT_EQ(verify_packed(share(k)).records, shares_[static_cast<size_t>(k - 1)].records);
    }
    EXPECT_EQ(records, whole_.records);
    for (int layer = 0; layer < whole->config().layer_count(); ++layer) {
        for (int expert = 0; expert < whole->config().experts(); ++expert) {
            int holders = 0;
            for (const auto& part : parts) {
                if (!part->holds(layer, expert)) continue;
                ++holders;
                EXPECT_EQ(record(*part, layer, expert), record(*whole, layer, expert));
                EXPECT_EQ(part->expert_checksum(layer, expert), whole->expert_checksum(layer, expert));
            }
            EXPECT_EQ(holders, 1) << layer << ", " << expert;
        }
    }
}

TEST_F(PackShares, NameTheExpertThatIsElsewhere) {
    const auto part = Checkpoint::open(share(2));
    ASSERT_FALSE(part->holds(1, 4));
    expect_error(ErrorCode::kNotFound, {"2/3", "layer 1, expert 4"}, [&] { part->expert_reads(1, 4); });
    expect_error(ErrorCode::kNotFound, {"2/3", "layer 0"}, [&] { pack(share(2), folder_ / "again", {}); });
    EXPECT_NE(part->fingerprint(), Checkpoint::open(share(1))->fingerprint());
}

TEST_F(PackShares, AreRefusedWhereTheyAreNone) {
    const auto source = folder_ / "source";
    for (const char* shard : {"0/3", "4/3", "3", "a/b", "1/3x"}) {
        expect_error(ErrorCode::kUsage, {"`shard`", shard}, [&] { pack(source, folder_ / "none", {.shard = shard}); });
    }
    expect_error(ErrorCode::kUsage, {"16 shares"}, [&] { pack(source, folder_ / "none", {.shard = "1/17"}); });
    expect_error(ErrorCode::kUsage, {"1/3", "2/3"}, [&] { pack(source, share(1), options(2)); });
}

TEST(PackVerify, NamesTheRecordOrTensorWithAFlippedBit) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3.6-35b-a3b", SynthEncoding::kBf16);
    const auto packed = folder / "packed";
    pack(source, packed, {.quantize = "affine4"});
    const auto checkpoint = Checkpoint::open(packed);
    for (const int expert : {0, 9, 15}) {
        const ByteRange range = checkpoint->expert_reads(2, expert).front().source;
        for (const uint64_t offset : {range.offset, range.offset + range.bytes - 1}) {
            flip(packed / "model.safetensors", offset);
            expect_error(ErrorCode::kInvalidFile, {"layer 2, expert " + std::to_string(expert) + ":"},
                         [&] { verify_packed(packed); });
            flip(packed / "model.safetensors", offset);
        }
    }
    const ByteRange scales = checkpoint->weight(1, Role::kRouter).scales;
    flip(packed / "model.safetensors", scales.offset + 3);
    expect_error(ErrorCode::kInvalidFile, {"mlp.gate.scales"}, [&] { verify_packed(packed); });
    flip(packed / "model.safetensors", scales.offset + 3);
    EXPECT_NO_THROW(verify_packed(packed));
}

TEST(PackVerify, RefusesAFileThatIsCutOff) {
    const TemporaryFolder folder;
    const auto source = synthesized(folder, "qwen3-30b-a3b", SynthEncoding::kAffine4);
    pack(source, folder / "packed", {});
    const auto file = folder / "packed" / "model.safetensors";
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
    EXPECT_THROW(verify_packed(folder / "packed"), Error);
}

class PackGoldens : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(PackGoldens, HaveTheSameWeights) {
    const TemporaryFolder folder;
    pack(GetParam().folder, folder / "packed", {});
    verify_packed(folder / "packed");
    const auto before = Checkpoint::open(GetParam().folder), after = Checkpoint::open(folder / "packed");
    EXPECT_THAT(after->skipped(), IsEmpty());
    expect_same_weights(*before, *after);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PackGoldens);
INSTANTIATE_TEST_SUITE_P(All, PackGoldens, ::testing::ValuesIn(golden_cases()), [](const auto& param_info) {
    std::string name = param_info.param.name();
    for (char& c : name) {
        if (c == '-') c = '_';
    }
    return name;
});

}  // namespace
}  // namespace sluice::testing
