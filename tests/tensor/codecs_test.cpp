#include "tensor/codecs.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "tests/tensor/codec_support.h"

namespace sluice {
namespace {

using testing::distortion;
using testing::gaussian_values;
using testing::StoredWeight;

TEST(Codecs, AreFoundByTheirNames) {
    std::set<std::string_view> names;
    for (const Codec* codec : codecs()) {
        EXPECT_TRUE(names.insert(codec->name).second) << codec->name;
        EXPECT_EQ(find_codec(codec->name), codec);
        EXPECT_EQ(codec->standard.codec, codec) << codec->name;
        EXPECT_TRUE(codec->standard.supported()) << codec->name;
    }
    EXPECT_EQ(find_codec("affin"), nullptr);
}

TEST(Codecs, SayWhatMayBeChosen) {
    EXPECT_EQ(kAffineCodec.choices(),
              "affine has bits of 2, 3, 4, 5, 6 or 8, group_size of 32, 64 or 128, F32, F16 or BF16");
    EXPECT_EQ(kFp8BlockCodec.choices(),
              "fp8_block has block_rows of 1 to 65536, block_columns of 1 to 65536, F32, BF16 or F8_E8M0");
    EXPECT_EQ(kMxfp4Codec.choices(), "mxfp4 has one format");
}

// What a format holds is what its encoder made of it, and a part of its rows is that part.
TEST(Codecs, ComeBack) {
    constexpr int64_t kRows = 5, kColumns = 256;
    const std::vector<float> values = gaussian_values(kRows * kColumns, 9);
    for (const Codec* codec : codecs()) {
        if (codec->encode == nullptr) continue;
        const WeightFormat& format = codec->standard;
        StoredWeight weight(format, kRows, kColumns);
        encode(format, values.data(), kRows, kColumns, {weight.data(), weight.scales(), weight.zero_points()});
        const std::vector<float> decoded = weight.decode();
        EXPECT_LT(distortion(values, decoded), 0.15) << format.describe();
        std::vector<float> row(kColumns);
        decode_row(weight.view().rows_at(1, 4).rows_at(2, 1), 0, row.data());
        const auto third = decoded.begin() + 3 * kColumns;
        EXPECT_EQ(row, std::vector<float>(third, third + kColumns)) << format.describe();
    }
}

TEST(Codecs, RefuseToEncodeWhatTheyDoNotHave) {
    Codec codec{.name = "read only", .block = fixed_block<1, 1>};
    const float value = 1.0f;
    std::byte out{};
    EXPECT_THROW(encode({.codec = &codec}, &value, 1, 1, {.data = &out}), Error);
    for (const Codec* known : codecs()) {
        if (known->standard.run_columns() == 1) continue;
        const std::vector<float> values(static_cast<size_t>(known->standard.run_columns() - 1), 1.0f);
        EXPECT_THROW(encode(known->standard, values.data(), 1, static_cast<int64_t>(values.size()), {}), Error);
    }
}

}  // namespace
}  // namespace sluice
