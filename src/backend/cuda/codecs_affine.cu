// MLX affine: see affine.cuh.

#include "backend/cuda/affine.cuh"
#include "backend/cuda/affine_rows.h"
#include "backend/cuda/codecs.h"
#include "backend/cuda/fold.cuh"

namespace sluice::cuda {

namespace {

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
