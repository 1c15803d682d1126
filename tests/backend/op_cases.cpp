#include "tests/backend/op_cases.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/memory.h"
#include "tensor/codecs.h"
#include "tensor/float_types.h"

namespace sluice {

namespace {

constexpr std::byte kUnwritten{0xff};

ErrorStats compare(const std::vector<float>& tested, const std::vector<float>& reference) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    constexpr ErrorStats kWrong{kInfinity, kInfinity, kInfinity, kInfinity, kInfinity};
    if (tested.size() != reference.size()) return kWrong;
    double squares = 0, error_squares = 0, errors = 0, magnitudes = 0, largest = 0;
    for (size_t i = 0; i < tested.size(); ++i) {
        const double error = static_cast<double>(tested[i]) - reference[i];
        if (!std::isfinite(error)) return kWrong;
        squares += static_cast<double>(reference[i]) * reference[i];
        error_squares += error * error;
        errors += error;
        magnitudes += std::abs(error);
        largest = std::max(largest, std::abs(error));
    }
    if (largest == 0) return {};
    const auto count = static_cast<double>(tested.size());
    // A few numbers may happen to cancel to almost nothing: they are measured against the inputs, which are of size
    // one.
    const double smallest = tested.size() < 64 ? 1.0 : 1e-30;
    const double rms = std::max(std::sqrt(squares / count), smallest);
    return {.max_abs = largest,
            .max_relative = largest / rms,
            .rms_relative = std::sqrt(error_squares / count) / rms,
            .mean_abs = magnitudes / count / rms,
            .mean = errors / count / rms};
}

}  // namespace

int64_t CaseContext::pick(int64_t lowest, int64_t highest) {
    return lowest + static_cast<int64_t>(random_() % static_cast<uint64_t>(highest - lowest + 1));
}

int64_t CaseContext::pick_of(const std::vector<int64_t>& values) {
    return values[static_cast<size_t>(pick(0, static_cast<int64_t>(values.size()) - 1))];
}

float CaseContext::normal() {
    return std::normal_distribution<float>()(random_);
}

std::vector<float> CaseContext::normals(int64_t count, float scale) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal() * scale;
    return values;
}

Tensor CaseContext::place(int64_t rows, int64_t columns, DType dtype, const std::vector<std::byte>& content) {
    const int64_t before = flip() ? pick(0, 9) : 0;
    const int64_t stride = before + columns + (flip() ? pick(0, 9) : 0);
    const size_t element = dtype_bytes(dtype);
    const uint64_t offset = static_cast<uint64_t>(pick(0, 5)) * element;
    std::vector<std::byte> bytes(offset + static_cast<size_t>(rows * stride) * element, kUnwritten);
    const size_t row_bytes = static_cast<size_t>(columns) * element;
    for (int64_t r = 0; r < rows; ++r) {
        std::byte* row = bytes.data() + offset + static_cast<size_t>(r * stride + before) * element;
        std::memcpy(row, content.data() + static_cast<size_t>(r) * row_bytes, row_bytes);
    }
    return make_tensor(this->bytes(bytes), dtype, rows, stride, offset).columns_at(before, columns);
}

Tensor CaseContext::filled(const std::vector<float>& values, int64_t rows, int64_t columns) {
    std::vector<std::byte> content(values.size() * sizeof(float));
    std::memcpy(content.data(), values.data(), content.size());
    return place(rows, columns, DType::kF32, content);
}

Tensor CaseContext::random(int64_t rows, int64_t columns, float scale) {
    return filled(normals(rows * columns, scale), rows, columns);
}

Tensor CaseContext::output(int64_t rows, int64_t columns, DType dtype) {
    return place(rows, columns, dtype,
                 std::vector<std::byte>(static_cast<size_t>(rows * columns) * dtype_bytes(dtype), kUnwritten));
}

Tensor CaseContext::integers(const std::vector<int32_t>& values) {
    if (values.empty()) return make_tensor(bytes(std::vector<std::byte>(4)), DType::kI32, 0, 1);
    std::vector<std::byte> content(values.size() * sizeof(int32_t));
    std::memcpy(content.data(), values.data(), content.size());
    return place(static_cast<int64_t>(values.size()), 1, DType::kI32, content);
}

std::vector<Tensor> CaseContext::columns_of_one(int64_t rows, const std::vector<int64_t>& columns) {
    int64_t all = 0;
    for (const int64_t count : columns) all += count;
    const Tensor whole = random(rows, all);
    std::vector<Tensor> parts;
    int64_t first = 0;
    for (const int64_t count : columns) {
        parts.push_back(whole.columns_at(first, count));
        first += count;
    }
    return parts;
}

BufferPtr CaseContext::bytes(const std::vector<std::byte>& content) {
    BufferPtr buffer = backend_.allocate(content.size());
    backend_.upload(buffer, 0, content);
    return buffer;
}

std::vector<SequenceRows> CaseContext::sequences(int64_t longest) {
    std::vector<SequenceRows> result;
    int64_t row = 0;
    const int64_t count = pick(1, 3);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t rows = pick_of({1, 1, 2, 7, 33});
        const int64_t position = flip() ? pick(0, longest) : 0;
        result.push_back({.first_row = row, .count = rows, .position = position});
        row += rows;
    }
    return result;
}

std::vector<std::byte> CaseContext::download(const BufferPtr& buffer) {
    std::vector<std::byte> content(buffer->bytes());
    backend_.download(buffer, 0, content);
    backend_.wait();
    return content;
}

void CaseContext::result(const Tensor& tensor) {
    const std::vector<std::byte> content = download(tensor.buffer);
    std::vector<bool> inside(content.size(), false);
    std::vector<float> values;
    for (int64_t r = 0; r < tensor.rows; ++r) {
        for (int64_t c = 0; c < tensor.columns; ++c) {
            const size_t at = tensor.offset + static_cast<size_t>(r * tensor.row_stride + c) * 4;
            std::fill_n(inside.begin() + static_cast<ptrdiff_t>(at), 4, true);
            const std::byte* element = content.data() + at;
            values.push_back(tensor.dtype == DType::kI32 ? static_cast<float>(load_unaligned<int32_t>(element))
                                                         : load_unaligned<float>(element));
        }
    }
    for (size_t i = 0; i < content.size(); ++i) overrun_ = overrun_ || (!inside[i] && content[i] != kUnwritten);
    results_.push_back(std::move(values));
}

void CaseContext::result(std::vector<float> values) {
    results_.push_back(std::move(values));
}

void ErrorStats::add(const ErrorStats& other) {
    max_abs = std::max(max_abs, other.max_abs);
    max_relative = std::max(max_relative, other.max_relative);
    rms_relative = std::max(rms_relative, other.rms_relative);
    mean_abs = std::max(mean_abs, other.mean_abs);
    if (std::abs(other.mean) > std::abs(mean)) mean = other.mean;
}

ErrorStats run_case(const OpCase& op_case, Backend& tested, Backend& reference, uint64_t seed) {
    CaseContext ours(tested, seed);
    CaseContext theirs(reference, seed);
    op_case.compute(ours);
    op_case.compute(theirs);
    ErrorStats worst;
    if (ours.overrun() || ours.results().size() != theirs.results().size()) {
        worst.max_abs = worst.max_relative = worst.rms_relative = std::numeric_limits<double>::infinity();
        return worst;
    }
    for (size_t i = 0; i < ours.results().size(); ++i) {
        worst.add(compare(ours.results()[i], theirs.results()[i]));
    }
    return worst;
}

Rounding rounding_of(const WeightFormat& format) {
    constexpr const Codec* kInFloat[] = {&kTq1_0Codec, &kQ1_0Codec, &kQ2_0Codec};
    if (std::ranges::find(kInFloat, format.codec) != std::end(kInFloat)) return Rounding::kNone;
    if (format.codec == &kAffineCodec || format.codec == &kScaledNvfp4BlockCodec ||
        (format.dtype == DType::kF16 && format.codec != &kFloatCodec))
        return Rounding::kInt8;
    if (format.codec == &kMxfp4Codec || format.codec == &kNvfp4Codec) return Rounding::kBf16OrInt8;
    return format.has_scales() || format.dtype == DType::kBF16 ? Rounding::kBf16 : Rounding::kNone;
}

std::vector<OpCase> all_op_cases() {
    std::vector<OpCase> cases;
    for (const auto& part :
         {basic_cases(), matmul_cases(), routed_cases(), many_row_cases(), attention_cases(), linear_attention_cases(),
          mla_cases(), selection_cases(), pooling_cases(), stream_cases(), gated_stream_cases(), step_cases(true)}) {
        cases.insert(cases.end(), part.begin(), part.end());
    }
    return cases;
}

std::vector<int32_t> random_selection(CaseContext& context, const std::vector<SequenceRows>& sequences, int64_t room) {
    std::vector<int32_t> selected;
    for (const SequenceRows& rows : sequences) {
        for (int64_t position = rows.position; position < rows.position + rows.count; ++position) {
            std::vector<int32_t> tokens;
            int64_t token = position - context.pick(0, std::min<int64_t>(position, 3));
            for (; token >= 0 && static_cast<int64_t>(tokens.size()) < room; token -= context.pick(1, 9)) {
                tokens.push_back(static_cast<int32_t>(token));
            }
            std::reverse(tokens.begin(), tokens.end());
            tokens.resize(static_cast<size_t>(room), kNoToken);
            selected.insert(selected.end(), tokens.begin(), tokens.end());
        }
    }
    return selected;
}

int64_t total_rows(const std::vector<SequenceRows>& sequences) {
    return sequences.back().first_row + sequences.back().count;
}

}  // namespace sluice
