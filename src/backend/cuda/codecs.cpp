#include "backend/cuda/codecs.h"

#include <utility>

#include "base/error.h"
#include "tensor/codecs.h"

namespace sluice::cuda {

namespace {

// kFloat and kAffine have a row per type and per number of bits.
struct CodecRow {
    const Codec* codec;
    const DeviceCodec* device;
    DType dtype = DType::kF32;
    int bits = 0;
};

constexpr CodecRow kDeviceCodecs[] = {
    {&kFloatCodec, &kF32OnDevice, DType::kF32},
    {&kFloatCodec, &kF16OnDevice, DType::kF16},
    {&kFloatCodec, &kBf16OnDevice, DType::kBF16},
    {&kAffineCodec, &kAffine2OnDevice, DType::kF32, 2},
    {&kAffineCodec, &kAffine3OnDevice, DType::kF32, 3},
    {&kAffineCodec, &kAffine4OnDevice, DType::kF32, 4},
    {&kAffineCodec, &kAffine5OnDevice, DType::kF32, 5},
    {&kAffineCodec, &kAffine6OnDevice, DType::kF32, 6},
    {&kAffineCodec, &kAffine8OnDevice, DType::kF32, 8},
    {&kFp8BlockCodec, &kFp8BlockOnDevice},
    {&kMxfp4Codec, &kMxfp4OnDevice},
    {&kMxfp8Codec, &kMxfp8OnDevice},
    {&kNvfp4Codec, &kNvfp4OnDevice},
    {&kQ8_0Codec, &kQ8_0OnDevice},
    {&kQ4_0Codec, &kQ4_0OnDevice},
    {&kQ4_1Codec, &kQ4_1OnDevice},
    {&kQ5_0Codec, &kQ5_0OnDevice},
    {&kQ5_1Codec, &kQ5_1OnDevice},
    {&kQ2_KCodec, &kQ2_KOnDevice},
    {&kQ3_KCodec, &kQ3_KOnDevice},
    {&kQ4_KCodec, &kQ4_KOnDevice},
    {&kQ5_KCodec, &kQ5_KOnDevice},
    {&kQ6_KCodec, &kQ6_KOnDevice},
    {&kIq4NlCodec, &kIq4NlOnDevice},
    {&kIq4XsCodec, &kIq4XsOnDevice},
    {&kIq3XxsCodec, &kIq3XxsOnDevice},
    {&kIq3SCodec, &kIq3SOnDevice},
    {&kIq2XxsCodec, &kIq2XxsOnDevice},
    {&kIq2XsCodec, &kIq2XsOnDevice},
    {&kIq2SCodec, &kIq2SOnDevice},
    {&kIq1SCodec, &kIq1SOnDevice},
    {&kIq1MCodec, &kIq1MOnDevice},
    {&kMxfp4BlockCodec, &kMxfp4BlockOnDevice},
    {&kNvfp4BlockCodec, &kNvfp4BlockOnDevice},
    {&kScaledNvfp4BlockCodec, &kScaledNvfp4BlockOnDevice},
    {&kTq1_0Codec, &kTq1_0OnDevice},
    {&kTq2_0Codec, &kTq2_0OnDevice},
    {&kQ1_0Codec, &kQ1_0OnDevice},
    {&kQ2_0Codec, &kQ2_0OnDevice},
};

ScaleType scale_type(DType dtype) {
    if (dtype == DType::kF16) return ScaleType::kF16;
    if (dtype == DType::kF8E8M0) return ScaleType::kE8m0;
    return dtype == DType::kBF16 ? ScaleType::kBf16 : ScaleType::kF32;
}

const uint8_t* place(const WeightPart& part) {
    if (part.buffer == nullptr) return nullptr;
    return reinterpret_cast<const uint8_t*>(device_bytes(part.buffer)) + part.offset;
}

}  // namespace

const DeviceCodec& device_codec(const WeightFormat& format) {
    for (const CodecRow& row : kDeviceCodecs) {
        if (row.codec != format.codec) continue;
        if (format.codec == &kFloatCodec && row.dtype != format.dtype) continue;
        if (format.codec == &kAffineCodec && row.bits != format.bits) continue;
        return *row.device;
    }
    fail(ErrorCode::kUnsupported, "CUDA has no kernels for weights in {}; `device` cpu has", format.describe());
}

DeviceWeight device_weight(const Device& device, const Weight& weight) {
    return {.data = place(weight.data),
            .scales = place(weight.scales),
            .zero_points = place(weight.zero_points),
            .rows = weight.rows,
            .columns = weight.columns,
            .data_row_bytes = static_cast<int64_t>(weight.format.data_row_bytes(weight.columns)),
            .scale_row_bytes = static_cast<int64_t>(weight.format.scale_row_bytes(weight.columns)),
            .group_size = weight.format.group_size,
            .group_rows = weight.format.group_rows,
            .block_row_offset = static_cast<int32_t>(weight.block_row_offset),
            .scale_type = scale_type(weight.format.dtype),
            .grids = device.grids()};
}

}  // namespace sluice::cuda
