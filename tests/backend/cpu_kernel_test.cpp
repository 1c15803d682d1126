// The kernels of every instruction set that this processor has, against plain loops.

#include "backend/cpu/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "backend/cpu/cpu_features.h"
#include "backend/cpu/linear.h"
#include "base/error.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tensor/row_tiles.h"
#include "tensor/weight_view.h"

namespace sluice {
namespace {

constexpr InstructionSet kSets[] = {
    InstructionSet::kScalar,         InstructionSet::kAvx2,           InstructionSet::kAvxVnni, InstructionSet::kAvx512,
    InstructionSet::kAvx512WithVnni, InstructionSet::kAvx512WithVbmi, InstructionSet::kAmx,     InstructionSet::kNeon};

class CpuKernels : public ::testing::TestWithParam<InstructionSet> {
  protected:
    void SetUp() override {
        if (!processor_has(GetParam())) GTEST_SKIP() << "not on this processor";
        kernels_ = &select_kernels(GetParam());
    }
    std::vector<float> normals(size_t count, float scale = 1) {
        std::normal_distribution<float> normal(0, scale);
        std::vector<float> values(count);
        for (float& value : values) value = normal(random_);
        return values;
    }

    const KernelTable* kernels_ = nullptr;
    std::mt19937 random_{7};
};

// An affine weight at an odd address whose last byte is the last of its memory.
struct AffineWeight {
    std::vector<std::byte> data, scales, zero_points;
    WeightView view;

    AffineWeight(int bits, int group, int64_t rows, int64_t columns, const std::vector<float>& values) {
        view.format = WeightFormat::affine(bits, group, DType::kBF16);
        view.rows = rows;
        view.columns = columns;
        data.resize(view.format.data_bytes(rows, columns) + 1);
        scales.resize(view.format.scale_bytes(rows, columns) + 1);
        zero_points.resize(view.format.zero_point_bytes(rows, columns) + 1);
        encode(view.format, values.data(), rows, columns, {data.data() + 1, scales.data() + 1, zero_points.data() + 1});
        view.data = data.data() + 1;
        view.scales = scales.data() + 1;
        view.zero_points = zero_points.data() + 1;
    }
};

// The bytes come out in the order of the kernels, so they are compared through a weight of ones.
TEST_P(CpuKernels, QuantizationKeepsEveryGroupSum) {
    constexpr int64_t kColumns = 192;
    for (const int bits : {4, 6}) {
        const std::vector<float> x = normals(kColumns);
        std::vector<int8_t> values(static_cast<size_t>(kernels_->quantized_bytes(kColumns, bits)), 0);
        std::vector<float> scales(3), sums(3);
        kernels_->quantize(x.data(), 0, kColumns, bits, 64, values.data(), scales.data(), sums.data());
        for (size_t g = 0; g < 3; ++g) {
            float largest = 0, sum = 0;
            for (size_t i = 64 * g; i < 64 * g + 64; ++i) largest = std::max(largest, std::abs(x[i]));
            EXPECT_FLOAT_EQ(scales[g], largest / 127);
            for (size_t i = 64 * g; i < 64 * g + 64; ++i) sum += std::nearbyint(x[i] * (127 / largest)) * scales[g];
            EXPECT_NEAR(sums[g], sum, 1e-4);
        }
    }
}

TEST_P(CpuKernels, QuantizationOfZerosAndFaults) {
    std::vector<float> x(128, 0.0f);
    x[100] = NAN;
    std::vector<int8_t> values(128);
    std::vector<float> scales(2), sums(2);
    kernels_->quantize(x.data(), 0, 128, 8, 64, values.data(), scales.data(), sums.data());
    EXPECT_EQ(scales[0], 0);
    EXPECT_EQ(sums[0], 0);
    EXPECT_TRUE(std::isnan(scales[1]));
    x[100] = INFINITY;
    kernels_->quantize(x.data(), 0, 128, 8, 64, values.data(), scales.data(), sums.data());
    EXPECT_TRUE(std::isnan(scales[1]));
}

// Against the same products of decoded weights and rounded activations: only float rounding may differ.
TEST_P(CpuKernels, AffineProductsAreThoseOfTheRoundedActivations) {
    // Fewer groups than a vector has lanes, as many, and some beyond that.
    for (const size_t groups : {1, 3, 8, 12, 16, 21, 38}) {
        for (const int bits : {2, 3, 4, 5, 6, 8}) {
            for (const int group : {32, 64, 128}) {
                const int64_t columns = static_cast<int64_t>(groups) * group, rows = 37;
                const AffineWeight weight(bits, group, rows, columns, normals(static_cast<size_t>(rows * columns)));
                const std::vector<float> x = normals(static_cast<size_t>(columns));
                std::vector<int8_t> values(static_cast<size_t>(kernels_->quantized_bytes(columns, bits)), 0);
                std::vector<float> scales(groups), sums(groups), out(static_cast<size_t>(rows)),
                    row(static_cast<size_t>(columns));
                kernels_->quantize(x.data(), 0, columns, bits, group, values.data(), scales.data(), sums.data());
                kernels_->affine_vector(weight.view, {values.data(), scales.data(), sums.data()}, out.data(), false,
                                        nullptr);
                for (int64_t r = 0; r < rows; ++r) {
                    decode_row(weight.view, r, row.data());
                    double sum = 0, magnitude = 0;
                    for (size_t i = 0; i < row.size(); ++i) {
                        const float scale = scales[i / static_cast<size_t>(group)];
                        const double product =
                            static_cast<double>(row[i]) * std::nearbyint(x[i] / scale) * static_cast<double>(scale);
                        sum += product;
                        magnitude += std::abs(product);
                    }
                    EXPECT_NEAR(out[static_cast<size_t>(r)], sum, 1e-6 * magnitude)
                        << groups << " groups, " << bits << " bits, group " << group << ", row " << r;
                }
            }
        }
    }
}

TEST_P(CpuKernels, VectorAndMatrixFormsAgreeInEveryBit) {
    constexpr int64_t kTokens = 17;
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        for (const int group : {32, 64, 128}) {
            const int64_t columns = 5 * group;
            const auto groups = static_cast<size_t>(columns / group);
            const int64_t rows = kernels_->tile_rows - 3;
            const AffineWeight weight(bits, group, rows, columns, normals(static_cast<size_t>(rows * columns)));
            const auto stride = static_cast<size_t>(kernels_->quantized_bytes(columns, bits));
            std::vector<int8_t> values(kTokens * stride, 0);
            std::vector<float> scales(kTokens * groups), sums(kTokens * groups);
            std::vector<QuantizedRow> x;
            for (size_t t = 0; t < kTokens; ++t) {
                x.push_back({values.data() + t * stride, scales.data() + t * groups, sums.data() + t * groups});
                kernels_->quantize(normals(static_cast<size_t>(columns)).data(), 0, columns, bits, group,
                                   values.data() + t * stride, scales.data() + t * groups, sums.data() + t * groups);
            }
            std::vector<std::byte> tile_values(stride * static_cast<size_t>(kernels_->tile_rows) + 64);
            std::vector<float> tile_scales(groups * static_cast<size_t>(kernels_->tile_rows));
            std::vector<float> tile_zero_points(tile_scales.size());
            AffineTile tile{};
            tile.values = tile_values.data();
            tile.scales = tile_scales.data();
            tile.zero_points = tile_zero_points.data();
            kernels_->affine_pack(weight.view, tile);
            std::vector<std::vector<float>> one(kTokens, normals(static_cast<size_t>(rows))), many = one;
            std::vector<float*> out;
            for (size_t t = 0; t < kTokens; ++t) {
                out.push_back(many[t].data());
                kernels_->affine_vector(weight.view, x[t], one[t].data(), true, nullptr);
            }
            kernels_->affine_matrix(tile, x.data(), kTokens, out.data(), 0, true, &weight.view);
            EXPECT_EQ(one, many) << bits << " bits, group " << group;
        }
    }
}

// Rows of an affine weight with factors of any type, and the same rows in tiles; all at odd addresses.
struct RowsAndTiles {
    std::vector<std::byte> bytes[2][3];
    WeightView rows, tiles;

    RowsAndTiles(const WeightFormat& format, int64_t count, int64_t columns, const std::vector<float>& values) {
        const uint64_t sizes[] = {format.data_bytes(count, columns), format.scale_bytes(count, columns),
                                  format.zero_point_bytes(count, columns)};
        const auto place = [&](std::vector<std::byte>(&parts)[3]) {
            for (size_t i = 0; i < 3; ++i) parts[i].resize(sizes[i] + 1);
            return EncodedRows{parts[0].data() + 1, parts[1].data() + 1, parts[2].data() + 1};
        };
        const EncodedRows stored = place(bytes[0]), turned = place(bytes[1]);
        encode(format, values.data(), count, columns, stored);
        rows = {format, count, columns, stored.data, stored.scales, stored.zero_points};
        tile_rows(rows, turned);
        tiles = {format, count, columns, turned.data, turned.scales, turned.zero_points};
        tiles.tiled = true;
    }
};

// One token and many, tiles that a packed one does not fill, rows after which others come.
TEST_P(CpuKernels, TilesGiveEveryBitOfRows) {
    if (kernels_->tiled_affine_rows == nullptr) GTEST_SKIP() << "reads rows as they are";
    constexpr size_t kTokens = 14;  // enough for AMX
    for (const int bits : {4, 8}) {
        for (const int group : {32, 64, 128}) {
            for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
                const int64_t groups = group == 32 ? 37 : 5, columns = groups * group;
                for (const int64_t count : {16, 48, 64}) {
                    const RowsAndTiles weight(WeightFormat::affine(bits, group, dtype), count, columns,
                                              normals(static_cast<size_t>(count * columns)));
                    const ActivationLayout layout{&kInt8Linear, bits, group};
                    Scratch scratch;
                    scratch.reset();
                    const ActivationRows x(*kernels_, layout, kTokens, columns, scratch);
                    for (size_t t = 0; t < kTokens; ++t) {
                        x.set(*kernels_, static_cast<int64_t>(t), 0, columns,
                              normals(static_cast<size_t>(columns)).data());
                    }
                    const auto products = [&](const WeightView& view, size_t tokens) {
                        std::vector<std::vector<float>> out(tokens, std::vector<float>(static_cast<size_t>(count), 3));
                        std::vector<float*> targets;
                        for (std::vector<float>& row : out) targets.push_back(row.data());
                        Scratch own;
                        own.reset();
                        multiply_rows(*kernels_,
                                      {.weight = view,
                                       .layout = layout,
                                       .x = x.pick(tokens, std::identity{}, own),
                                       .columns = columns,
                                       .out = targets.data(),
                                       .accumulate = true,
                                       .next = &view},
                                      own);
                        return out;
                    };
                    for (const size_t tokens : std::initializer_list<size_t>{1, 2, 3, 4, 7, kTokens}) {
                        EXPECT_EQ(products(weight.tiles, tokens), products(weight.rows, tokens))
                            << bits << " bits, group " << group << ", " << dtype_name(dtype) << ", " << count
                            << " rows, " << tokens << " tokens";
                    }
                }
            }
        }
    }
}

// But for scalar, which rounds between product and sum.
TEST_P(CpuKernels, AffineProductsAreTheSameInEveryInstructionSet) {
    if (GetParam() == InstructionSet::kScalar || !processor_has(InstructionSet::kAvx2))
        GTEST_SKIP() << "compares with AVX2";
    const KernelTable& avx2 = select_kernels(InstructionSet::kAvx2);
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        for (const int group : {32, 64, 128}) {
            const int64_t columns = 5 * group, rows = 37;
            const AffineWeight weight(bits, group, rows, columns, normals(static_cast<size_t>(rows * columns)));
            const std::vector<float> x = normals(static_cast<size_t>(columns));
            const auto products = [&](const KernelTable& kernels) {
                std::vector<int8_t> values(static_cast<size_t>(kernels.quantized_bytes(columns, bits)), 0);
                std::vector<float> scales(5), sums(5), out(static_cast<size_t>(rows));
                kernels.quantize(x.data(), 0, columns, bits, group, values.data(), scales.data(), sums.data());
                kernels.affine_vector(weight.view, {values.data(), scales.data(), sums.data()}, out.data(), false,
                                      nullptr);
                return out;
            };
            EXPECT_EQ(products(*kernels_), products(avx2)) << bits << " bits, group " << group;
        }
    }
}

TEST_P(CpuKernels, DecodesLikeTheCodec) {
    const int64_t columns = 320;
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        const AffineWeight weight(bits, 32, 3, columns, normals(static_cast<size_t>(3 * columns)));
        std::vector<float> wanted(static_cast<size_t>(columns)), got(wanted.size());
        for (int64_t r = 0; r < 3; ++r) {
            decode_row(weight.view, r, wanted.data());
            kernels_->decode(weight.view, r, 0, columns, got.data());
            EXPECT_EQ(got, wanted) << bits << " bits, row " << r;
            kernels_->decode(weight.view, r, 128, columns - 128, got.data());
            EXPECT_EQ(got[0], wanted[128]);
        }
    }
}

// Every code with every factor, the last of them the last byte of its memory.
TEST_P(CpuKernels, WeightsInBf16AreThoseOfTheCodec) {
    if (kernels_->bf16 == nullptr) GTEST_SKIP() << "no BF16 products";
    constexpr int64_t kColumns = 288;  // all codes of a byte, and a part of a unit
    std::vector<float> wanted(kColumns);
    std::vector<uint16_t> got(static_cast<size_t>(kBf16TileRows * bf16_row_values(kColumns)));
    for (const WeightFormat& format :
         {kMxfp8Codec.standard, kMxfp4Codec.standard, kNvfp4Codec.standard, WeightFormat::fp8_block(64, 64)}) {
        std::vector<std::byte> data(format.data_bytes(1, kColumns) + 1);
        for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i - 1);
        WeightView weight{.format = format, .rows = 1, .columns = kColumns, .data = data.data() + 1};
        for (int factor = 0; factor < 256; ++factor) {
            std::vector<std::byte> scales(format.scale_bytes(1, kColumns), static_cast<std::byte>(factor));
            if (format.codec == &kFp8BlockCodec) {
                // Left to the activations.
                for (size_t i = 0; i < scales.size(); i += sizeof(float)) store_unaligned(scales.data() + i, 1.0f);
            }
            weight.scales = scales.data();
            decode_row(weight, 0, wanted.data());
            Bf16Tile tile{};
            tile.values = got.data();
            kernels_->bf16->pack(weight, tile);
            for (size_t i = 0; i < wanted.size(); ++i) {
                const float value = bf16_to_float(got[i]);
                if (std::isnan(wanted[i])) {
                    EXPECT_TRUE(std::isnan(value)) << format.describe() << ", factor " << factor << ", " << i;
                } else if (std::abs(wanted[i]) < std::numeric_limits<float>::min()) {
                    EXPECT_LE(std::abs(value), std::abs(wanted[i]));  // products take subnormals for zero
                } else {
                    EXPECT_EQ(value, wanted[i]) << format.describe() << ", factor " << factor << ", " << i;
                }
            }
            for (int64_t i = kColumns; i < tile.columns; ++i) EXPECT_EQ(got[static_cast<size_t>(i)], 0);
        }
    }
}

// A weight that BF16 holds, at an odd address; its last byte is the last of its memory.
struct Bf16Weight {
    std::vector<std::byte> data, scales;
    WeightView view;

    Bf16Weight(const WeightFormat& format, int64_t rows, int64_t columns, std::mt19937& random)
        : data(format.data_bytes(rows, columns) + 1), scales(format.scale_bytes(rows, columns) + 1) {
        view = {.format = format, .rows = rows, .columns = columns, .data = data.data() + 1};
        view.scales = scales.data() + 1;
        if (format.codec == &kFloatCodec) {
            std::normal_distribution<float> normal;
            for (int64_t i = 0; i < rows * columns; ++i) set(i, normal(random));
        } else {
            const bool nibbles = format.codec == &kMxfp4Codec || format.codec == &kNvfp4Codec;
            const uint32_t mask = nibbles ? 0xff : 0xfe;  // without E4M3's NaN
            for (std::byte& code : data) code = static_cast<std::byte>(random() & mask);
        }
        // Powers of two about one, as BF16, E8M0 and E4M3 have them.
        if (format.codec == &kFp8BlockCodec) {
            for (size_t i = 1; i < scales.size(); i += sizeof(float))
                store_unaligned(&scales[i], std::ldexp(1.0f, static_cast<int>(random() % 5) - 2));
        } else {
            const uint32_t one = format.codec == &kNvfp4Codec ? 56 : 127;
            const uint32_t step = format.codec == &kNvfp4Codec ? 8 : 1;
            for (std::byte& scale : scales) scale = static_cast<std::byte>(one + step * (random() % 3));
        }
    }
    void set(int64_t i, float value) { store_unaligned(&data[static_cast<size_t>(1 + 2 * i)], float_to_bf16(value)); }
};

// Rows [first, first + count) of x, each times the weight.
std::vector<std::vector<float>> fast_products(const KernelTable& kernels, const WeightView& weight,
                                              const std::vector<std::vector<float>>& x, size_t first, size_t count) {
    const ActivationLayout layout = fastest_layout(kernels, weight.format);
    const auto tokens = static_cast<int64_t>(count);
    Scratch scratch;
    const ActivationRows rows(kernels, layout, tokens, weight.columns, scratch);
    std::vector<std::vector<float>> out(count, std::vector<float>(static_cast<size_t>(weight.rows), 0.5f));
    std::vector<float*> targets;
    for (size_t t = 0; t < count; ++t) {
        rows.set(kernels, static_cast<int64_t>(t), 0, weight.columns, x[first + t].data());
        targets.push_back(out[t].data());
    }
    multiply_rows(kernels,
                  {.weight = weight,
                   .layout = layout,
                   .x = rows.pick(count, std::identity{}, scratch),
                   .columns = weight.columns,
                   .out = targets.data(),
                   .accumulate = true},
                  scratch);
    return out;
}

// One token and many; rows that are not whole tiles, columns that are not whole dwords, parts that begin in a block.
TEST_P(CpuKernels, CodesGiveTheSameBitsInTilesAndRowsAndAnyCompany) {
    constexpr size_t kTokens = 51;
    for (const WeightFormat& format : {WeightFormat::fp8_block(128, 128), WeightFormat::fp8_block(64, 32),
                                       kMxfp8Codec.standard, kMxfp4Codec.standard, kNvfp4Codec.standard}) {
        if (!fastest_layout(*kernels_, format).kernel->reads_tiles) continue;
        const bool any_width = format.codec == &kFp8BlockCodec;
        for (const int64_t width : {32, 288, 332, 1023}) {
            const int64_t columns = any_width ? width : (width + 31) / 32 * 32;
            for (const int64_t rows : {1, 48, 133, 160}) {
                SCOPED_TRACE(testing::Message() << format.describe() << ", " << rows << " x " << columns);
                const Bf16Weight weight(format, rows, columns, random_);
                std::vector<std::vector<float>> x;
                for (size_t t = 0; t < kTokens; ++t) x.push_back(normals(static_cast<size_t>(columns)));
                const auto alone = fast_products(*kernels_, weight.view, x, 50, 1)[0];
                for (const size_t count : {size_t{2}, size_t{5}, kTokens}) {
                    EXPECT_EQ(fast_products(*kernels_, weight.view, x, kTokens - count, count).back(), alone) << count;
                }
                if (rows > 48) {
                    const auto part = fast_products(*kernels_, weight.view.rows_at(37, 20), x, 50, 1)[0];
                    EXPECT_TRUE(std::equal(part.begin(), part.end(), alone.begin() + 37));
                }
                if (!fits_tiles(format, rows, columns)) continue;
                std::vector<std::byte> data(weight.data.size()), scales(weight.scales.size());
                WeightView tiles = weight.view;
                tile_rows(weight.view, {.data = data.data(), .scales = scales.data()});
                tiles.data = data.data();
                tiles.scales = scales.data();
                tiles.tiled = true;
                for (const size_t count : {size_t{1}, size_t{3}, kTokens})
                    EXPECT_EQ(fast_products(*kernels_, tiles, x, kTokens - count, count).back(), alone) << count;
            }
        }
    }
}

// Every code as its codec has it, beside a factor that is a power of two: what a row of x with a one picks out.
TEST_P(CpuKernels, CodesInTilesAreThoseOfTheCodec) {
    constexpr int64_t kColumns = 256;
    for (const WeightFormat& format :
         {WeightFormat::fp8_block(128, 128), kMxfp8Codec.standard, kMxfp4Codec.standard, kNvfp4Codec.standard}) {
        if (!fastest_layout(*kernels_, format).kernel->reads_tiles) continue;
        Bf16Weight weight(format, 16, kColumns, random_);
        const bool nibbles = format.bits == 4;
        for (size_t i = 0; i + 1 < weight.data.size(); ++i) {
            const size_t code = (i + i / kColumns) % 256;
            const bool nan = !nibbles && code % 128 == 127 && i / kColumns != 3;  // in the fourth row alone
            weight.data[i + 1] = static_cast<std::byte>(nan ? 0 : code);
        }
        std::vector<float> wanted(kColumns);
        for (int64_t column = 0; column < kColumns; ++column) {
            std::vector<std::vector<float>> x(1, std::vector<float>(kColumns, 0.0f));
            x[0][static_cast<size_t>(column)] = 127.0f;
            const std::vector<float> got = fast_products(*kernels_, weight.view, x, 0, 1)[0];
            for (int64_t r = 0; r < 16; ++r) {
                decode_row(weight.view, r, wanted.data());
                const float value = 0.5f + 127.0f * wanted[static_cast<size_t>(column)];
                const bool fault = std::ranges::any_of(wanted, [](float v) { return std::isnan(v); });
                if (fault) {
                    EXPECT_TRUE(std::isnan(got[static_cast<size_t>(r)])) << format.describe();
                } else {
                    EXPECT_EQ(got[static_cast<size_t>(r)], value) << format.describe() << ", " << r << ", " << column;
                }
            }
        }
    }
}

// Activations that rounding does not change: only the order of float sums may differ from a plain loop.
TEST_P(CpuKernels, Bf16ProductsAreTheSameInAnyCompany) {
    if (kernels_->bf16 == nullptr) GTEST_SKIP() << "no BF16 products";
    constexpr size_t kTokens = 33;
    for (const WeightFormat& format : {WeightFormat::floating(DType::kBF16), WeightFormat::fp8_block(64, 64),
                                       kMxfp8Codec.standard, kMxfp4Codec.standard, kNvfp4Codec.standard}) {
        const bool any_width = format.codec == &kFloatCodec || format.codec == &kFp8BlockCodec;
        for (const int64_t width : {33, 64, 288, 320, 769, 1024}) {
            const int64_t columns = any_width ? width : (width + 31) / 32 * 32;
            for (const int64_t rows : {1, 37, 96}) {
                SCOPED_TRACE(testing::Message() << format.describe() << ", " << rows << " x " << columns);
                const Bf16Weight weight(format, rows, columns, random_);
                std::vector<std::vector<float>> x;
                for (size_t t = 0; t < kTokens; ++t) {
                    x.push_back(normals(static_cast<size_t>(columns)));
                    for (float& value : x.back()) value = bf16_to_float(float_to_bf16(value));
                }
                std::vector<std::vector<float>> alone;
                for (size_t t = 0; t < kTokens; ++t) alone.push_back(fast_products(*kernels_, weight.view, x, t, 1)[0]);
                for (const size_t count : {size_t{2}, size_t{17}, kTokens}) {
                    const auto together = fast_products(*kernels_, weight.view, x, 0, count);
                    EXPECT_TRUE(std::equal(together.begin(), together.end(), alone.begin())) << count;
                }
                std::vector<float> row(static_cast<size_t>(columns));
                for (int64_t r = 0; r < rows; ++r) {
                    decode_row(weight.view, r, row.data());
                    for (const size_t t : {size_t{0}, kTokens - 1}) {
                        double sum = 0.5, magnitude = 0.5;
                        for (size_t i = 0; i < row.size(); ++i) {
                            const double product = static_cast<double>(row[i]) * static_cast<double>(x[t][i]);
                            sum += product;
                            magnitude += std::abs(product);
                        }
                        EXPECT_NEAR(alone[t][static_cast<size_t>(r)], sum, 1e-6 * magnitude) << r << ", " << t;
                    }
                }
            }
        }
    }
}

// What pads a row is zero on both sides: an infinity in the next one must not meet it.
TEST_P(CpuKernels, Bf16ProductsEndWithTheRow) {
    if (kernels_->bf16 == nullptr) GTEST_SKIP() << "no BF16 products";
    constexpr int64_t kColumns = 33, kRows = 33;
    Bf16Weight weight(WeightFormat::floating(DType::kBF16), kRows, kColumns, random_);
    for (int64_t i = kColumns; i < 2 * kColumns; ++i) weight.set(i, INFINITY);
    std::vector<std::vector<float>> x(17, std::vector<float>(kColumns, 1.0f));
    x[3][32] = NAN;
    for (const size_t count : {1, 2, 17}) {
        const auto out = fast_products(*kernels_, weight.view, x, 0, count);
        for (size_t t = 0; t < count; ++t) {
            for (size_t r = 0; r < kRows; ++r) {
                if (t == 3) {
                    EXPECT_TRUE(std::isnan(out[t][r])) << t << ", " << r;
                } else {
                    EXPECT_EQ(std::isfinite(out[t][r]), r != 1) << t << ", " << r;
                }
            }
        }
    }
}

TEST_P(CpuKernels, ElementaryFunctionsAreAccurate) {
    std::vector<float> x;
    for (float v = -100; v < 100; v += 0.037f) x.push_back(v);
    std::vector<float> out(x.size());
    kernels_->sigmoid(x.data(), static_cast<int64_t>(x.size()), out.data());
    for (size_t i = 0; i < x.size(); ++i) {
        const double wanted = 1 / (1 + std::exp(-static_cast<double>(x[i])));
        if (x[i] > -87) {
            EXPECT_NEAR(out[i] / wanted, 1, 3e-7) << x[i];
        }
        EXPECT_NEAR(out[i], wanted, 1e-6) << x[i];
    }
    const std::vector<float> fault = {NAN, INFINITY, -INFINITY};
    std::vector<float> of_fault(3);
    kernels_->sigmoid(fault.data(), 3, of_fault.data());
    EXPECT_TRUE(std::isnan(of_fault[0]));
    EXPECT_EQ(of_fault[1], 1);
    EXPECT_NEAR(of_fault[2], 0, 1e-30);
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, CpuKernels, ::testing::ValuesIn(kSets));

TEST(CpuFeatures, AnInstructionSetThatTheProcessorLacksIsRefused) {
    for (const InstructionSet set : kSets) {
        if (processor_has(set)) {
            EXPECT_NO_THROW(select_kernels(set));
            continue;
        }
        try {
            select_kernels(set);
            ADD_FAILURE() << "not refused";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
            EXPECT_THAT(error.what(), ::testing::HasSubstr("auto"));
        }
    }
}

}  // namespace
}  // namespace sluice
