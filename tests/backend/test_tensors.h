#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"

namespace sluice {

inline Tensor tensor_of(Backend& backend, int64_t rows, int64_t columns, const std::vector<float>& values) {
    const BufferPtr buffer = backend.allocate(values.size() * sizeof(float));
    backend.upload(buffer, 0, std::as_bytes(std::span(values)));
    return make_tensor(buffer, DType::kF32, rows, columns);
}

inline Tensor ints_of(Backend& backend, const std::vector<int32_t>& values) {
    const BufferPtr buffer = backend.allocate(values.size() * sizeof(int32_t));
    backend.upload(buffer, 0, std::as_bytes(std::span(values)));
    return make_tensor(buffer, DType::kI32, static_cast<int64_t>(values.size()), 1);
}

inline Tensor zeros(Backend& backend, int64_t rows, int64_t columns, DType dtype = DType::kF32) {
    return make_tensor(backend.allocate(static_cast<uint64_t>(rows * columns) * 4), dtype, rows, columns);
}

inline Weight weight_of(Backend& backend, int64_t rows, int64_t columns, const std::vector<float>& values) {
    const Tensor tensor = tensor_of(backend, rows, columns, values);
    return {.format = WeightFormat::floating(DType::kF32),
            .rows = rows,
            .columns = columns,
            .data = {tensor.buffer, 0},
            .scales = {},
            .zero_points = {}};
}

template <typename Element = float>
std::vector<Element> read(Backend& backend, const Tensor& tensor) {
    std::vector<Element> values;
    for (int64_t row = 0; row < tensor.rows; ++row) {
        std::vector<Element> part(static_cast<size_t>(tensor.columns));
        backend.download(tensor.buffer, tensor.rows_at(row, 1).offset, std::as_writable_bytes(std::span(part)));
        backend.wait();
        values.insert(values.end(), part.begin(), part.end());
    }
    return values;
}

inline std::vector<float> random_values(size_t count, uint64_t seed, float scale = 1) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
}

inline void expect_near(const std::vector<float>& values, const std::vector<float>& expected, float tolerance) {
    ASSERT_EQ(values.size(), expected.size());
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], tolerance) << "at " << i;
}

// The action throws kUsage and its message holds every one of the words.
inline void expect_usage_error(const std::function<void()>& action, const std::vector<std::string>& words) {
    try {
        action();
        ADD_FAILURE() << "no error naming " << words.front();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kUsage) << error.what();
        for (const std::string& word : words) {
            EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << word << " in: " << error.what();
        }
    }
}

}  // namespace sluice
