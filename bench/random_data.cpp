#include "bench/random_data.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "tensor/codecs.h"
#include "tensor/float_types.h"

namespace sluice::bench {

namespace {

// So many numbers are drawn; more of them are these over again, which no kernel notices.
constexpr size_t kDrawn = 1'000'003;

std::vector<float> normals(size_t count) {
    std::mt19937 random(static_cast<unsigned>(count));
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = i < kDrawn ? normal(random) : values[i - kDrawn];
    return values;
}

template <typename Number>
BufferPtr uploaded(Backend& target, const std::vector<Number>& values) {
    BufferPtr buffer = target.allocate(values.size() * sizeof(Number));
    target.upload(buffer, 0, std::as_bytes(std::span(values)));
    return buffer;
}

BufferPtr small_bf16(Backend& target, uint64_t count) {
    return uploaded(target, std::vector<uint16_t>(count, 0x3c23));  // 0.01
}

BufferPtr random_bf16(Backend& target, uint64_t count) {
    std::vector<uint16_t> bits;
    bits.reserve(count);
    for (const float value : normals(count)) bits.push_back(float_to_bf16(value / 32));
    return uploaded(target, bits);
}

}  // namespace

BufferPtr random_bytes(Backend& target, uint64_t bytes) {
    std::mt19937_64 random(bytes);
    std::vector<uint64_t> words((bytes + 7) / 8);
    for (size_t i = 0; i < words.size(); ++i) words[i] = i < kDrawn ? random() : words[i - kDrawn];
    BufferPtr buffer = target.allocate(bytes);
    target.upload(buffer, 0, std::as_bytes(std::span(words)).first(bytes));
    return buffer;
}

Tensor random_tensor(Backend& target, int64_t rows, int64_t columns) {
    return make_tensor(uploaded(target, normals(static_cast<size_t>(rows * columns))), DType::kF32, rows, columns);
}

Weight random_weight(Backend& target, const WeightFormat& format, int64_t rows, int64_t columns) {
    Weight weight{format, rows, columns, {}, {}, {}};
    if (format.codec == &kFloatCodec) {
        weight.data.buffer = format.dtype == DType::kF32 ? random_tensor(target, rows, columns).buffer
                                                         : random_bf16(target, static_cast<uint64_t>(rows * columns));
        return weight;
    }
    weight.data.buffer = random_bytes(target, format.data_bytes(rows, columns));
    if (format.codec == &kAffineCodec) {
        weight.scales.buffer = small_bf16(target, format.scale_bytes(rows, columns) / 2);
        weight.zero_points.buffer = small_bf16(target, format.zero_point_bytes(rows, columns) / 2);
    } else if (format.codec == &kFp8BlockCodec) {
        const uint64_t scales = format.scale_bytes(rows, columns) / dtype_bytes(format.dtype);
        weight.scales.buffer = format.dtype == DType::kF32
                                   ? random_tensor(target, 1, static_cast<int64_t>(scales)).buffer
                               : format.dtype == DType::kBF16 ? small_bf16(target, scales)
                                                              : uploaded(target, std::vector<uint8_t>(scales, 120));
    } else if (format.has_scales()) {
        weight.scales.buffer = uploaded(target, std::vector<uint8_t>(format.scale_bytes(rows, columns), 127));
    }
    return weight;
}

uint64_t weight_bytes(const Weight& weight) {
    return weight.format.data_bytes(weight.rows, weight.columns) +
           weight.format.scale_bytes(weight.rows, weight.columns) +
           weight.format.zero_point_bytes(weight.rows, weight.columns);
}

}  // namespace sluice::bench
