#include "tests/tensor/codec_support.h"

#include <charconv>
#include <cmath>
#include <random>

namespace sluice::testing {

StoredWeight::StoredWeight(const WeightFormat& format, int64_t rows, int64_t columns)
    : format_(format),
      rows_(rows),
      columns_(columns),
      data_(format.data_bytes(rows, columns) + 1),
      scales_(format.scale_bytes(rows, columns) + 1),
      zero_points_(format.zero_point_bytes(rows, columns) + 1) {}

WeightView StoredWeight::view() const {
    return {.format = format_,
            .rows = rows_,
            .columns = columns_,
            .data = data_.data() + 1,
            .scales = format_.has_scales() ? scales_.data() + 1 : nullptr,
            .zero_points = format_.has_zero_points() ? zero_points_.data() + 1 : nullptr};
}

std::vector<float> StoredWeight::decode() const {
    std::vector<float> values(static_cast<size_t>(rows_ * columns_));
    for (int64_t row = 0; row < rows_; ++row) decode_row(view(), row, &values[static_cast<size_t>(row * columns_)]);
    return values;
}

std::vector<float> gaussian_values(size_t count, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<float> values(count);
    for (float& value : values) {
        // The sum of twelve uniform numbers: standard distributions differ between libraries.
        double sum = -6.0;
        for (int i = 0; i < 12; ++i) sum += static_cast<double>(random() >> 11) * 0x1p-53;
        value = static_cast<float>(sum);
    }
    return values;
}

double distortion(const std::vector<float>& values, const std::vector<float>& decoded) {
    double error = 0;
    double power = 0;
    for (size_t i = 0; i < values.size(); ++i) {
        const double difference = static_cast<double>(decoded[i]) - values[i];
        error += difference * difference;
        power += static_cast<double>(values[i]) * values[i];
    }
    return std::sqrt(error / power);
}

std::vector<std::byte> from_hex(std::string_view hex) {
    std::vector<std::byte> bytes;
    for (size_t i = 0; i + 2 <= hex.size(); i += 2) {
        unsigned value = 0;
        std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
        bytes.push_back(static_cast<std::byte>(value));
    }
    return bytes;
}

}  // namespace sluice::testing
