// Random weights of every format, for the operation cases.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tensor/codecs.h"
#include "tensor/float_types.h"
#include "tests/backend/op_cases.h"

namespace sluice {

namespace {

using Bytes = std::vector<std::byte>;

void store_float(DType dtype, float value, std::byte* out) {
    switch (dtype) {
        case DType::kF16:
            store_unaligned(out, float_to_f16(value));
            return;
        case DType::kBF16:
            store_unaligned(out, float_to_bf16(value));
            return;
        case DType::kF8E8M0:
            *out = static_cast<std::byte>(float_to_e8m0(value));
            return;
        default:
            store_unaligned(out, value);
            return;
    }
}

Bytes random_bytes(CaseContext& context, uint64_t count) {
    Bytes bytes(count);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(context.pick(0, 255));
    return bytes;
}

// All codes of E4M3 but the two NaN.
Bytes random_e4m3(CaseContext& context, uint64_t count) {
    Bytes bytes = random_bytes(context, count);
    for (std::byte& byte : bytes) {
        if ((byte & std::byte{0x7f}) == std::byte{0x7f}) byte ^= std::byte{1};
    }
    return bytes;
}

Bytes random_codes(CaseContext& context, uint64_t count, int64_t lowest, int64_t highest) {
    Bytes bytes(count);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(context.pick(lowest, highest));
    return bytes;
}

struct Parts {
    Bytes data, scales, zero_points;
};

Parts float_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float scale) {
    const size_t element = dtype_bytes(format.dtype);
    const auto count = static_cast<size_t>(rows * columns);
    Parts parts;
    parts.data.resize(count * element);
    for (size_t i = 0; i < count; ++i) {
        store_float(format.dtype, context.normal() * scale, parts.data.data() + i * element);
    }
    return parts;
}

// Scales of either sign, and zero points that put zero inside of the range, as encoders leave them.
Parts affine_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float scale) {
    Parts parts;
    parts.data = random_bytes(context, format.data_bytes(rows, columns));
    parts.scales.resize(format.scale_bytes(rows, columns));
    parts.zero_points.resize(parts.scales.size());
    const size_t element = dtype_bytes(format.dtype);
    const float levels = std::ldexp(1.0f, format.bits);
    for (size_t at = 0; at < parts.scales.size(); at += element) {
        const float step = scale * (2 + context.normal() / 4) / levels * (context.flip() ? 1.0f : -1.0f);
        store_float(format.dtype, step, parts.scales.data() + at);
        store_float(format.dtype, -step * levels * (0.5f + context.normal() / 32), parts.zero_points.data() + at);
    }
    return parts;
}

Parts fp8_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float scale) {
    Parts parts{random_e4m3(context, format.data_bytes(rows, columns)), {}, {}};
    parts.scales.resize(format.scale_bytes(rows, columns));
    for (size_t at = 0; at < parts.scales.size(); at += dtype_bytes(format.dtype)) {
        store_float(format.dtype, scale * (1 + context.normal() / 8) / 64, parts.scales.data() + at);
    }
    return parts;
}

// E2M1 codes, of which every byte is two, and scales from `lowest` to `highest`, which make values of about one.
template <int kLowest, int kHighest>
Parts e2m1_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float) {
    return {random_bytes(context, format.data_bytes(rows, columns)),
            random_codes(context, format.scale_bytes(rows, columns), kLowest, kHighest),
            {}};
}

Parts mxfp8_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float) {
    return {random_e4m3(context, format.data_bytes(rows, columns)),
            random_codes(context, format.scale_bytes(rows, columns), 114, 118),
            {}};
}

// Random blocks with an F16 at kFirst and, if there is one, at kSecond, which make values of about one out of codes and
// factors of kTypical.
template <int kTypical, size_t kFirst, size_t kSecond = kFirst>
Parts block_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float scale) {
    Parts parts{random_bytes(context, format.data_bytes(rows, columns)), {}, {}};
    const auto block_bytes = static_cast<size_t>(format.codec->block(format).bytes);
    for (size_t at = 0; at < parts.data.size(); at += block_bytes) {
        for (const size_t place : {kFirst, kSecond}) {
            const float factor = scale * (1 + context.normal() / 8) / kTypical;
            store_float(DType::kF16, context.flip() ? factor : -factor, parts.data.data() + at + place);
        }
    }
    return parts;
}

// The scale is in the upper nibbles of the last four words.
Parts iq1_m_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float scale) {
    Parts parts{random_bytes(context, format.data_bytes(rows, columns)), {}, {}};
    for (size_t at = 0; at < parts.data.size(); at += 56) {
        const uint16_t bits = float_to_f16(scale * (1 + context.normal() / 8) / 6);
        for (size_t i = 0; i < 4; ++i) {
            std::byte& upper = parts.data[at + 49 + 2 * i];
            upper = (upper & std::byte{0x0f}) | static_cast<std::byte>((bits >> (4 * i) & 15) << 4);
        }
    }
    return parts;
}

// E2M1 behind kScales codes of scales from `lowest` to `highest`, and one F32 where there is a factor.
template <size_t kScales, int kLowest, int kHighest>
Parts fp4_block_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float) {
    Parts parts{random_bytes(context, format.data_bytes(rows, columns)), {}, {}};
    const auto block_bytes = static_cast<size_t>(format.codec->block(format).bytes);
    for (size_t at = 0; at < parts.data.size(); at += block_bytes) {
        for (size_t i = 0; i < kScales; ++i) {
            parts.data[at + i] = static_cast<std::byte>(context.pick(kLowest, kHighest));
        }
    }
    parts.scales.resize(format.scale_bytes(rows, columns));
    if (!parts.scales.empty()) store_float(DType::kF32, 1.25f, parts.scales.data());
    return parts;
}

struct RandomParts {
    const Codec* codec;
    Parts (*make)(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns, float scale);
};

constexpr RandomParts kRandomParts[] = {
    {&kFloatCodec, float_parts},
    {&kAffineCodec, affine_parts},
    {&kFp8BlockCodec, fp8_parts},
    {&kMxfp4Codec, e2m1_parts<120, 124>},
    {&kMxfp8Codec, mxfp8_parts},
    {&kNvfp4Codec, e2m1_parts<0x08, 0x28>},
    {&kQ8_0Codec, block_parts<64, 0>},
    {&kQ4_0Codec, block_parts<5, 0>},
    {&kQ4_1Codec, block_parts<8, 0, 2>},
    {&kQ5_0Codec, block_parts<10, 0>},
    {&kQ5_1Codec, block_parts<16, 0, 2>},
    {&kQ2_KCodec, block_parts<12, 80, 82>},
    {&kQ3_KCodec, block_parts<40, 108>},
    {&kQ4_KCodec, block_parts<256, 0, 2>},
    {&kQ5_KCodec, block_parts<512, 0, 2>},
    {&kQ6_KCodec, block_parts<1300, 208>},
    {&kIq4NlCodec, block_parts<64, 0>},
    {&kIq4XsCodec, block_parts<1150, 0>},
    {&kIq3XxsCodec, block_parts<120, 0>},
    {&kIq3SCodec, block_parts<128, 0>},
    {&kIq2XxsCodec, block_parts<50, 0>},
    {&kIq2XsCodec, block_parts<50, 0>},
    {&kIq2SCodec, block_parts<50, 0>},
    {&kIq1SCodec, block_parts<6, 0>},
    {&kIq1MCodec, iq1_m_parts},
    {&kMxfp4BlockCodec, fp4_block_parts<1, 120, 124>},
    {&kNvfp4BlockCodec, fp4_block_parts<4, 0x08, 0x28>},
    {&kScaledNvfp4BlockCodec, fp4_block_parts<4, 0x08, 0x28>},
    {&kTq1_0Codec, block_parts<1, 52>},
    {&kTq2_0Codec, block_parts<1, 64>},
    {&kQ1_0Codec, block_parts<1, 0>},
    {&kQ2_0Codec, block_parts<1, 0>},
};

Parts random_parts(CaseContext& context, const WeightFormat& format, int64_t rows, int64_t columns) {
    const float scale = 1 / std::sqrt(static_cast<float>(columns));
    for (const RandomParts& row : kRandomParts) {
        if (row.codec == format.codec) return row.make(context, format, rows, columns, scale);
    }
    ADD_FAILURE() << "no random weights of " << format.describe();
    return {};
}

}  // namespace

Weight CaseContext::placed_weight(const WeightFormat& format, int64_t rows, int64_t columns, int64_t most_offset) {
    // Part of a larger matrix, so that FP8 blocks are met in the middle.
    const int64_t before = flip() ? pick(0, 70) : 0;
    const int64_t all = before + rows + (flip() ? pick(0, 5) : 0);
    const Parts parts = random_parts(*this, format, all, columns);
    Weight weight;
    weight.format = format;
    weight.rows = all;
    weight.columns = columns;
    const bool adopted = flip();
    const auto place_part = [&](const Bytes& part) {
        if (part.empty()) return WeightPart{};
        auto content = std::make_shared<Bytes>(static_cast<size_t>(pick(0, most_offset)), std::byte{0xff});
        const uint64_t offset = content->size();
        content->insert(content->end(), part.begin(), part.end());
        return WeightPart{adopted ? backend_.adopt(*content, content) : bytes(*content), offset};
    };
    weight.data = place_part(parts.data);
    weight.scales = place_part(parts.scales);
    weight.zero_points = place_part(parts.zero_points);
    return weight.rows_at(before, rows);
}

std::vector<WeightFormat> all_weight_formats() {
    std::vector<WeightFormat> formats;
    for (const Codec* codec : codecs()) formats.push_back(codec->standard);
    formats.push_back(WeightFormat::floating(DType::kF16));
    formats.push_back(WeightFormat::floating(DType::kBF16));
    formats.push_back(WeightFormat::fp8_block(16, 32));
    formats.push_back(WeightFormat::fp8_block(128, 128, DType::kBF16));
    for (const int bits : {2, 3, 4, 5, 6, 8}) {
        for (const int group : {32, 64, 128}) {
            const WeightFormat format = WeightFormat::affine(bits, group, DType::kBF16);
            if (format != kAffineCodec.standard) formats.push_back(format);
        }
    }
    formats.push_back(WeightFormat::affine(4, 64, DType::kF16));
    formats.push_back(WeightFormat::affine(8, 32, DType::kF32));
    return formats;
}

int64_t columns_for(const WeightFormat& format, int64_t groups) {
    if (format.codec == &kFloatCodec) return 37 * groups + 3;
    if (format.codec == &kFp8BlockCodec) return format.group_size * groups + 24;
    return format.run_columns() * groups;
}

}  // namespace sluice
