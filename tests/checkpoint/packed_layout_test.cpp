#include "checkpoint/packed_layout.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/safetensors.h"
#include "tensor/codecs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_checkpoint.h"

namespace sluice {
namespace {

using testing::expect_error;
using testing::TemporaryFolder;
using testing::tiny_qwen3_moe;
using testing::TinyCheckpoint;
using testing::TinyTensor;

// The tiny Qwen3 in the packed layout, its records made from the source by hand.
struct Packed {
    TinyCheckpoint tiny = tiny_qwen3_moe();
    std::map<int, std::vector<std::vector<std::byte>>> records;
    uint64_t alignment = 4096;

    Packed() {
        const WeightFormat format = WeightFormat::floating(DType::kBF16);
        const ExpertLayout layout = make_expert_layout(format, format, format, 64, 32);
        tiny.metadata[std::string(kPackedVersionKey)] = kPackedVersion;
        for (int layer = 0; layer < 2; ++layer) {
            TinyTensor stack{DType::kU8, {4, static_cast<int64_t>(layout.record_bytes)}, {}};
            std::vector<uint64_t> checksums;
            for (int expert = 0; expert < 4; ++expert) {
                std::vector<std::byte> record(layout.record_bytes);
                for (const Projection projection : kProjections) {
                    const std::string name = fmt::format("model.layers.{}.mlp.experts.{}.{}.weight", layer, expert,
                                                         projection_name(projection));
                    const std::vector<std::byte>& bytes = tiny.tensors.at(name).bytes;
                    std::copy(bytes.begin(), bytes.end(),
                              record.begin() + static_cast<int64_t>(projection_of(layout, projection).data));
                    tiny.tensors.erase(name);
                }
                checksums.push_back(record_checksum(record));
                stack.bytes.insert(stack.bytes.end(), record.begin(), record.end());
                records[layer].push_back(std::move(record));
            }
            tiny.tensors[packed_experts_name(layer)] = std::move(stack);
            tiny.metadata[packed_format_key(layer)] = packed_format_text(layout);
            tiny.metadata[packed_checksums_key(layer)] = packed_checksums_text(checksums);
        }
    }

    // Experts first, so that they keep the alignment of the data area.
    void write(const std::filesystem::path& folder) const {
        write_text_file(folder / "config.json", tiny.config.dump());
        std::vector<SafetensorsWriter::Declaration> declarations;
        for (const bool experts : {true, false}) {
            for (const auto& [name, tensor] : tiny.tensors) {
                if (name.starts_with("sluice.") == experts) declarations.push_back({name, tensor.dtype, tensor.shape});
            }
        }
        SafetensorsWriter writer(folder / "model.safetensors", declarations, tiny.metadata, alignment);
        for (const auto& [name, tensor] : tiny.tensors) writer.write(name, tensor.bytes);
        writer.commit();
    }
};

TEST(PackedLayout, Opens) {
    const Packed packed;
    const TemporaryFolder folder;
    packed.write(folder.path());
    const auto checkpoint = Checkpoint::open(folder.path());
    EXPECT_TRUE(checkpoint->packed());
    EXPECT_EQ(checkpoint->layout_name(), "packed");
    EXPECT_EQ(checkpoint->quantization_name(), "BF16");
    EXPECT_TRUE(checkpoint->skipped().empty());
    for (int layer = 0; layer < 2; ++layer) {
        for (int expert = 0; expert < 4; ++expert) {
            const std::vector<ExpertRead> reads = checkpoint->expert_reads(layer, expert);
            ASSERT_EQ(reads.size(), 1u);
            EXPECT_EQ(reads[0].slot_offset, 0u);
            EXPECT_EQ(reads[0].source.offset % 4096, 0u);
            EXPECT_EQ(reads[0].source.bytes, checkpoint->expert_layout(layer).record_bytes);
            const auto bytes = checkpoint->mapped(reads[0].source);
            const auto& record = packed.records.at(layer)[static_cast<size_t>(expert)];
            EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), record.begin(), record.end()));
            EXPECT_EQ(checkpoint->expert_checksum(layer, expert), record_checksum(record));
        }
    }
    EXPECT_EQ(checkpoint->find_non_finite(), std::nullopt);
}

TEST(PackedLayout, OfTheVersionBeforeOpens) {
    Packed packed;
    packed.tiny.metadata["sluice.packed"] = "1";
    const TemporaryFolder folder;
    packed.write(folder.path());
    EXPECT_FALSE(Checkpoint::open(folder.path())->expert_layout(0).up.tiled);
}

void expect_refused(const Packed& packed, ErrorCode code, const std::vector<std::string>& parts) {
    const TemporaryFolder folder;
    packed.write(folder.path());
    std::vector<std::string> all = parts;
    all.emplace_back("model.safetensors");
    expect_error(code, all, [&] { Checkpoint::open(folder.path()); });
}

TEST(PackedLayout, RefusesDamage) {
    Packed packed;
    packed.tiny.metadata["sluice.packed"] = "4";
    expect_refused(packed, ErrorCode::kUnsupported, {"sluice.packed", "\"4\"", "\"1\"", "\"3\""});
    packed = {};
    packed.tiny.metadata["sluice.packed"] = "3";
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.share"});
    packed = {};
    packed.tiny.metadata.erase("sluice.packed");
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.packed"});
    packed = {};
    packed.tiny.metadata.erase("sluice.layers.1.format");
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.layers.1.format"});
    packed = {};
    packed.tiny.metadata["sluice.layers.1.format"] = "{\"gate\":5}";
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.layers.1.format", "gate"});
    packed = {};
    packed.tiny.metadata["sluice.layers.1.checksums"] += " 0123456789abcdef";
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.layers.1.checksums", "4 checksums"});
    packed = {};
    packed.tiny.metadata.erase("sluice.layers.0.checksums");
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.layers.0.checksums"});
    packed = {};
    packed.tiny.tensors["sluice.layers.0.experts"].shape = {8, 8192};
    packed.tiny.tensors["sluice.layers.0.experts"].bytes.resize(8 * 8192);
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.layers.0.experts", "[4, 12288]"});
    packed = {};
    packed.alignment = 8;
    packed.tiny.metadata["padding"] = std::string(4096 - 2200 % 4096, 'x');
    packed.tiny.add("sluice.", {3}, DType::kU8);
    expect_refused(packed, ErrorCode::kInvalidFile, {"sluice.layers.0.experts", "multiple of 4096"});
    packed = {};
    packed.tiny.tensors.erase("sluice.layers.1.experts");
    const TemporaryFolder folder;
    packed.write(folder.path());
    expect_error(ErrorCode::kNotFound, {"no experts for layer 1", "sluice.layers.1.experts"},
                 [&] { Checkpoint::open(folder.path()); });
}

TEST(PackedLayout, FormatsComeBack) {
    std::vector<WeightFormat> formats = {
        WeightFormat::floating(DType::kF16),
        WeightFormat::affine(3, 128, DType::kF16),
        WeightFormat::affine(8, 32, DType::kF32),
        WeightFormat::fp8_block(128, 64),
        WeightFormat::fp8_block(128, 64, DType::kBF16),
    };
    for (const Codec* codec : codecs()) formats.push_back(codec->standard);
    for (const WeightFormat& format : formats) {
        const ExpertLayout layout = make_expert_layout(format, kMxfp4Codec.standard, format, 256, 512);
        const ExpertLayout read = read_packed_format(packed_format_text(layout), 256, 512, "here");
        EXPECT_EQ(read.gate.format, format);
        EXPECT_EQ(read.up.format, kMxfp4Codec.standard);
        EXPECT_EQ(read.down.zero_points, layout.down.zero_points);
        EXPECT_EQ(read.record_bytes, layout.record_bytes);
    }
    const WeightFormat affine = WeightFormat::affine(4, 64, DType::kBF16);
    const ExpertLayout rows = make_expert_layout(affine, affine, WeightFormat::floating(DType::kF16), 256, 512);
    const ExpertLayout tiled = tiled_layout(rows, [](const WeightFormat&) { return true; });
    const ExpertLayout read = read_packed_format(packed_format_text(tiled), 256, 512, "here");
    EXPECT_TRUE(read.gate.tiled && read.up.tiled);
    EXPECT_FALSE(read.down.tiled);
    EXPECT_FALSE(read_packed_format(packed_format_text(rows), 256, 512, "here").up.tiled);
}

TEST(PackedLayout, RefusesFormats) {
    const auto expect_bad = [](const std::string& gate, ErrorCode code, const std::vector<std::string>& parts) {
        const std::string text = R"({"gate":)" + gate + R"(,"up":{"kind":"mxfp4"},"down":{"kind":"mxfp4"}})";
        expect_error(code, parts, [&] { read_packed_format(text, 96, 64, "here"); });
    };
    expect_bad(R"({"kind":"q9_k"})", ErrorCode::kUnsupported, {"here", "gate.kind", "q9_k"});
    expect_bad(R"({"kind":"affine","bits":4,"group_size":64,"dtype":"BF16"})", ErrorCode::kInvalidFile,
               {"here", "gate.group_size", "96"});
    expect_bad(R"({"kind":"affine","bits":7,"group_size":32,"dtype":"BF16"})", ErrorCode::kUnsupported, {"7-bit"});
    expect_bad(R"({"kind":"affine","bits":4,"group_size":32,"dtype":"I8"})", ErrorCode::kUnsupported,
               {"gate.dtype", "I8"});
    expect_bad(R"({"kind":"fp8_block","block_rows":0,"block_columns":1})", ErrorCode::kInvalidFile,
               {"gate.block_rows"});
    expect_bad(R"({"kind":"float","dtype":"F16","tiled":true})", ErrorCode::kInvalidFile,
               {"here", "gate.tiled", "64 rows", "F16"});
    expect_bad("null", ErrorCode::kInvalidFile, {"here", "gate", "missing"});
    expect_error(ErrorCode::kInvalidFile, {"here", "JSON"}, [] { read_packed_format("{", 96, 64, "here"); });
}

TEST(PackedLayout, ChecksumsComeBack) {
    const std::vector<uint64_t> checksums = {0, 0xfedcba9876543210, 7};
    const std::string text = packed_checksums_text(checksums);
    EXPECT_EQ(text, "0000000000000000 fedcba9876543210 0000000000000007");
    EXPECT_EQ(read_packed_checksums(text, 3, "here"), checksums);
    const auto expect_bad = [](const std::string& bad, size_t count) {
        expect_error(ErrorCode::kInvalidFile, {"here"}, [&] { read_packed_checksums(bad, count, "here"); });
    };
    expect_bad(text, 2);
    expect_bad(text, 4);
    expect_bad("", 1);
    expect_bad(text + " ", 3);
    expect_bad("000000000000000g", 1);
    expect_bad("0000000000000000,0000000000000000", 2);
    expect_bad("-000000000000001", 1);
    // The checksum is XXH3-64, whose value for nothing is published.
    EXPECT_EQ(record_checksum({}), 0x2d06800538d394c2u);
}

}  // namespace
}  // namespace sluice
