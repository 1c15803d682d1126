#include "tensor/row_tiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/weight_view.h"

namespace sluice {
namespace {

// A matrix of random bytes, and memory for another of its size.
struct Bytes {
    std::vector<std::byte> data, scales, zero_points;
    WeightView view;

    Bytes(const WeightFormat& format, int64_t rows, int64_t columns)
        : data(format.data_bytes(rows, columns)),
          scales(format.scale_bytes(rows, columns)),
          zero_points(format.zero_point_bytes(rows, columns)) {
        view.format = format;
        view.rows = rows;
        view.columns = columns;
        std::mt19937 random(static_cast<unsigned>(rows + columns));
        for (auto* part : {&data, &scales, &zero_points}) {
            for (std::byte& byte : *part) byte = static_cast<std::byte>(random() % 64);
        }
        view.data = data.data();
        view.scales = scales.data();
        view.zero_points = zero_points.data();
    }
    EncodedRows out() { return {data.data(), scales.data(), zero_points.data()}; }
};

class RowTiles : public ::testing::TestWithParam<WeightFormat> {
  protected:
    static constexpr int64_t kRows = 3 * kTileRows;

    WeightFormat format_ = GetParam();
    int64_t columns_ = std::max<int64_t>(3 * format_.run_columns(), kTileDwordBytes);
    Bytes rows_{format_, kRows, columns_}, tiles_{format_, kRows, columns_};

    RowTiles() {
        tile_rows(rows_.view, tiles_.out());
        tiles_.view.tiled = true;
    }
};

TEST_P(RowTiles, RowsOfATileTakeTurns) {
    if (format_.codec->lone_word >= 0) GTEST_SKIP() << "not all of its bytes are dwords";
    const auto expect_turns = [](const std::vector<std::byte>& rows, const std::vector<std::byte>& tiles,
                                 uint64_t bytes) {
        const uint64_t row_bytes = rows.size() / kRows, elements = row_bytes / bytes;
        for (uint64_t row = 0; row < kRows; ++row) {
            for (uint64_t i = 0; i < elements; ++i) {
                const uint64_t tile = row / kTileRows * kTileRows * row_bytes;
                const uint64_t at = tile + (i * kTileRows + row % kTileRows) * bytes;
                ASSERT_EQ(std::memcmp(&tiles[at], &rows[row * row_bytes + i * bytes], bytes), 0)
                    << "row " << row << ", element " << i << " of " << bytes << " bytes";
            }
        }
    };
    expect_turns(rows_.data, tiles_.data, 4);
    if (format_.group_rows > 1) {
        EXPECT_EQ(tiles_.scales, rows_.scales);
    } else {
        expect_turns(rows_.scales, tiles_.scales, dtype_bytes(format_.dtype));
    }
    expect_turns(rows_.zero_points, tiles_.zero_points, dtype_bytes(format_.dtype));
}

// The dwords of all blocks, then their words.
TEST_P(RowTiles, WordsOfBlocksStandBehindDwords) {
    if (format_.codec->lone_word < 0) GTEST_SKIP() << "all of its bytes are dwords";
    const DataBlock block = format_.codec->block(format_);
    const int64_t row_bytes = 3 * block.bytes, dwords = block.bytes / 4, word = format_.codec->lone_word;
    const int64_t word_bytes = block.bytes % 4;
    for (int64_t row = 0; row < kRows; ++row) {
        const std::byte* tile = tiles_.data.data() + row / kTileRows * kTileRows * row_bytes;
        const int64_t lane = row % kTileRows;
        for (int64_t b = 0; b < 3; ++b) {
            const std::byte* from = rows_.data.data() + row * row_bytes + b * block.bytes;
            for (int64_t i = 0; i < dwords; ++i) {
                const std::byte* dword = tile + ((b * dwords + i) * kTileRows + lane) * 4;
                ASSERT_EQ(std::memcmp(dword, from + (word == 0 ? word_bytes : 0) + 4 * i, 4), 0)
                    << row << ", " << b << ", " << i;
            }
            const std::byte* lone = tile + 3 * dwords * 4 * kTileRows + (b * kTileRows + lane) * word_bytes;
            ASSERT_EQ(std::memcmp(lone, from + word, static_cast<size_t>(word_bytes)), 0) << row << ", " << b;
        }
    }
}

TEST_P(RowTiles, ComeBackAsTheyWere) {
    Bytes back(format_, kRows, columns_ + format_.run_columns());
    untile_rows(tiles_.view, back.out());
    const auto begins = [](const std::vector<std::byte>& whole, const std::vector<std::byte>& part) {
        return whole.size() >= part.size() && std::equal(part.begin(), part.end(), whole.begin());
    };
    EXPECT_TRUE(begins(back.data, rows_.data));
    EXPECT_TRUE(begins(back.scales, rows_.scales));
    EXPECT_TRUE(begins(back.zero_points, rows_.zero_points));
}

TEST_P(RowTiles, AreMadeAndUndoneInPlace) {
    Bytes turned = rows_;
    const auto place = [&](bool tiled) {
        return Matrix<std::byte*>{.format = format_,
                                  .rows = kRows,
                                  .columns = columns_,
                                  .data = turned.data.data(),
                                  .scales = turned.scales.data(),
                                  .zero_points = turned.zero_points.data(),
                                  .tiled = tiled};
    };
    std::vector<std::byte> scratch(turn_in_place_scratch_bytes(format_, columns_));
    turn_in_place(place(false), scratch);
    EXPECT_EQ(turned.data, tiles_.data);
    EXPECT_EQ(turned.scales, tiles_.scales);
    EXPECT_EQ(turned.zero_points, tiles_.zero_points);
    turn_in_place(place(true), scratch);
    EXPECT_EQ(turned.data, rows_.data);
    EXPECT_EQ(turned.scales, rows_.scales);
    EXPECT_EQ(turned.zero_points, rows_.zero_points);
}

TEST_P(RowTiles, DecodeToTheSameValues) {
    std::vector<float> wanted(static_cast<size_t>(columns_)), got(wanted.size());
    for (int64_t row = 0; row < kRows; ++row) {
        decode_row(rows_.view, row, wanted.data());
        decode_row(tiles_.view, row, got.data());
        ASSERT_EQ(std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)), 0) << "row " << row;
        decode_row(tiles_.view.rows_at(row / kTileRows * kTileRows, kTileRows), row % kTileRows, got.data());
        ASSERT_EQ(std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)), 0) << "row " << row;
    }
}

TEST_P(RowTiles, AreTakenWhole) {
    EXPECT_THROW(std::ignore = tiles_.view.rows_at(8, 16), Error);
    EXPECT_THROW(std::ignore = tiles_.view.rows_at(16, 8), Error);
    EXPECT_EQ(tiles_.view.rows_at(16, 32).data, tiles_.data.data() + 16 * format_.data_row_bytes(columns_));
}

std::vector<WeightFormat> tiled_formats() {
    std::vector<WeightFormat> formats;
    for (const int bits : {4, 8}) {
        for (const int group : {32, 64, 128}) {
            for (const DType dtype : {DType::kBF16, DType::kF32}) {
                formats.push_back(WeightFormat::affine(bits, group, dtype));
            }
        }
    }
    for (const Codec* codec : codecs()) {
        if (codec != &kAffineCodec && codec->standard.tiles()) formats.push_back(codec->standard);
    }
    return formats;
}

INSTANTIATE_TEST_SUITE_P(Formats, RowTiles, ::testing::ValuesIn(tiled_formats()));

TEST(RowTilesOf, FormatsThatHaveThemInWholeTiles) {
    EXPECT_TRUE(fits_tiles(WeightFormat::affine(4, 64, DType::kF16), 32, 256));
    EXPECT_TRUE(fits_tiles(WeightFormat::affine(8, 32, DType::kBF16), 16, 256));
    EXPECT_FALSE(fits_tiles(WeightFormat::affine(4, 64, DType::kF16), 40, 256));
    EXPECT_FALSE(fits_tiles(WeightFormat::affine(6, 64, DType::kF16), 32, 256));
    EXPECT_FALSE(fits_tiles(kFloatCodec.standard, 32, 256));
    EXPECT_TRUE(fits_tiles(kQ4_KCodec.standard, 16, 256));
    EXPECT_FALSE(fits_tiles(kQ4_KCodec.standard, 24, 256));
    EXPECT_TRUE(fits_tiles(kQ8_0Codec.standard, 32, 256));
    EXPECT_TRUE(fits_tiles(kMxfp4Codec.standard, 32, 64));
    EXPECT_TRUE(fits_tiles(WeightFormat::fp8_block(128, 128), 48, 132));
    EXPECT_FALSE(fits_tiles(WeightFormat::fp8_block(128, 128), 48, 130));
    EXPECT_FALSE(fits_tiles(WeightFormat::fp8_block(24, 128), 48, 128));
}

}  // namespace
}  // namespace sluice
