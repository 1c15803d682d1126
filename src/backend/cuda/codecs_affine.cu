// MLX affine: codes of kBits in a bit stream, a scale and a zero point per group of 32, 64 or 128.

#include "backend/cuda/affine_rows.h"
#include "backend/cuda/codecs.h"
#include "backend/cuda/fold.cuh"

namespace sluice::cuda {

namespace {

template <int kBits>
struct Affine {
    static __device__ __forceinline__ void run(const DeviceWeight& weight, int64_t row, int run, float (&out)[kRun]) {
        uint32_t words[kBits];
        load_words(weight.data + row * weight.data_row_bytes + static_cast<int64_t>(run) * 4 * kBits, words);
        const int group = run / (weight.group_size / kRun);
        const float scale = load_scale(weight.scale_type, weight.scales + row * weight.scale_row_bytes, group);
        const float zero = load_scale(weight.scale_type, weight.zero_points + row * weight.scale_row_bytes, group);
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
            const int bit = i * kBits, word = bit / 32, shift = bit % 32;
            uint32_t code = words[word] >> shift;
            if (shift + kBits > 32) code |= words[word + 1 < kBits ? word + 1 : word] << (32 - shift);
            // Without a conversion: a code in the upper digits of a float from 2^kBits on.
            const uint32_t bits = (code & ((1u << kBits) - 1)) << (23 - kBits) | (127u + kBits) << 23;
            const float number = __uint_as_float(bits) - static_cast<float>(1 << kBits);
            out[i] = fmaf(number, scale, zero);
        }
    }
};

void multiply_4_bits(Device& device, Product product) {
    if (!multiply_affine_rows(device, product)) multiply<Affine<4>>(device, product);
}

constexpr DeviceCodec codec_of_4_bits() {
    DeviceCodec codec = folding_codec_of<Affine<4>>();
    codec.multiply = multiply_4_bits;
    return codec;
}

}  // namespace

const DeviceCodec kAffine2OnDevice = codec_of<Affine<2>>();
const DeviceCodec kAffine3OnDevice = codec_of<Affine<3>>();
const DeviceCodec kAffine4OnDevice = codec_of_4_bits();
const DeviceCodec kAffine5OnDevice = codec_of<Affine<5>>();
const DeviceCodec kAffine6OnDevice = codec_of<Affine<6>>();
const DeviceCodec kAffine8OnDevice = folding_codec_of<Affine<8>>();

}  // namespace sluice::cuda
