// Blocks that ggml made or that hold every code, and the values that ggml reads from them, bit for bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/json.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tests/support/source_file.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

using testing::source_file;
using testing::StoredWeight;

struct GgmlType {
    std::string name;
    const Codec* codec;
};

const GgmlType kTypes[] = {
    {"Q8_0", &kQ8_0Codec},        {"Q4_0", &kQ4_0Codec},   {"Q4_1", &kQ4_1Codec},      {"Q5_0", &kQ5_0Codec},
    {"Q5_1", &kQ5_1Codec},        {"Q2_K", &kQ2_KCodec},   {"Q3_K", &kQ3_KCodec},      {"Q4_K", &kQ4_KCodec},
    {"Q5_K", &kQ5_KCodec},        {"Q6_K", &kQ6_KCodec},   {"IQ4_NL", &kIq4NlCodec},   {"IQ4_XS", &kIq4XsCodec},
    {"IQ3_XXS", &kIq3XxsCodec},   {"IQ3_S", &kIq3SCodec},  {"IQ2_XXS", &kIq2XxsCodec}, {"IQ2_XS", &kIq2XsCodec},
    {"IQ2_S", &kIq2SCodec},       {"IQ1_S", &kIq1SCodec},  {"IQ1_M", &kIq1MCodec},     {"MXFP4", &kMxfp4BlockCodec},
    {"NVFP4", &kNvfp4BlockCodec}, {"TQ1_0", &kTq1_0Codec}, {"TQ2_0", &kTq2_0Codec},    {"Q1_0", &kQ1_0Codec},
    {"Q2_0", &kQ2_0Codec},
};

class SafetensorsFile {
  public:
    explicit SafetensorsFile(const std::filesystem::path& path) {
        std::ifstream file(path, std::ios::binary);
        bytes_.assign(std::istreambuf_iterator<char>(file), {});
        const auto length = load_unaligned<uint64_t>(reinterpret_cast<const std::byte*>(bytes_.data()));
        header_ = parse_json(std::string_view(bytes_).substr(8, length), path.string());
        data_ = 8 + length;
    }
    std::span<const std::byte> tensor(const std::string& name) const {
        const auto& offsets = header_.at(name).at("data_offsets");
        const auto begin = offsets[0].get<size_t>(), end = offsets[1].get<size_t>();
        return std::as_bytes(std::span(bytes_)).subspan(data_ + begin, end - begin);
    }

  private:
    std::string bytes_;
    nlohmann::json header_;
    size_t data_ = 0;
};

void expect_values(const Codec& codec, std::span<const std::byte> blocks, std::span<const std::byte> values) {
    const auto columns = static_cast<int64_t>(values.size() / sizeof(float));
    StoredWeight weight(codec.standard, 1, columns);
    ASSERT_EQ(blocks.size(), codec.standard.data_bytes(1, columns));
    std::ranges::copy(blocks, weight.data());
    const std::vector<float> decoded = weight.decode();
    for (size_t i = 0; i < decoded.size(); ++i) {
        const auto wanted = load_unaligned<float>(values.data() + i * sizeof(float));
        if (wanted == wanted) {
            ASSERT_EQ(decoded[i], wanted) << codec.name << ", value " << i;
        } else {
            ASSERT_NE(decoded[i], decoded[i]) << codec.name << ", value " << i;
        }
    }
}

TEST(GgmlBlocks, DecodeAsGgmlDoes) {
    const SafetensorsFile file(source_file("/tests/data/ggml/blocks.safetensors"));
    for (const auto& [name, codec] : kTypes) {
        std::string lower = name;
        std::ranges::transform(lower, lower.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
        expect_values(*codec, file.tensor(lower), file.tensor(lower + ".values"));
    }
}

TEST(GgmlBlocks, EveryCodeIsReadAsGgmlDoes) {
    const std::filesystem::path folder = source_file("/../shared/gguf/types");
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no ../shared/gguf/types";
    for (const auto& [name, codec] : kTypes) {
        for (const char* kind : {"quantized", "codes"}) {
            const SafetensorsFile file(folder / (name + "." + kind + ".safetensors"));
            expect_values(*codec, file.tensor("blocks"), file.tensor("values"));
        }
    }
}

// 255 is a power of two like all others, and the smallest is subnormal.
TEST(GgmlBlocks, ScalesAtTheirEnds) {
    StoredWeight weight(kMxfp4BlockCodec.standard, 1, 64);
    weight.data()[1] = std::byte{0x12};  // 1, then 0.5 at 16
    weight.data()[17] = std::byte{255};
    weight.data()[18] = std::byte{0x12};
    const std::vector<float> decoded = weight.decode();
    EXPECT_EQ(decoded[0], 0x1p-127f);
    EXPECT_EQ(decoded[16], 0x1p-128f);
    EXPECT_EQ(decoded[32], std::numeric_limits<float>::infinity());
    EXPECT_EQ(decoded[48], 0x1p127f);
}

TEST(GgmlBlocks, OneFactorForAMatrix) {
    const WeightFormat& format = kScaledNvfp4BlockCodec.standard;
    StoredWeight weight(format, 3, 128), plain(kNvfp4BlockCodec.standard, 3, 128);
    EXPECT_EQ(format.scale_bytes(3, 128), sizeof(float));
    for (size_t i = 0; i < format.data_bytes(3, 128); ++i) {
        weight.data()[i] = plain.data()[i] = static_cast<std::byte>(37 * i + 5);
    }
    store_unaligned(weight.scales(), 0.75f);
    std::vector<float> wanted = plain.decode();
    for (float& value : wanted) value *= 0.75f;
    EXPECT_EQ(weight.decode(), wanted);
    std::vector<float> row(128);
    decode_row(weight.view().rows_at(1, 2).rows_at(1, 1), 0, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), wanted.begin() + 2 * 128));
}

}  // namespace
}  // namespace sluice
