#include "checkpoint/matrix_arrangement.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tensor/float_types.h"

namespace sluice {

namespace {

constexpr int kCodeWordBits = 32;
// Elements of both sides of a tile of a transposition stay in the first cache.
constexpr int64_t kTile = 32;
// Rows whose codes lie in nibbles 0, 1, 2 ... of a word of AWQ's.
constexpr std::array<int, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};
// Codes and scales of a block of NVFP4.
constexpr int64_t kBlockColumns = 64, kBlockScales = 4, kScaleColumns = 16, kBlockBytes = 36;

// Bytes of the parts as they are published.
struct StoredBytes {
    uint64_t data, scales, zero_points;
};

bool is_nvfp4(MatrixForm form) {
    return form == MatrixForm::kNvfp4 || form == MatrixForm::kNvfp4Divided;
}

StoredBytes stored_bytes(const StoredForm& stored, const ProjectionLayout& matrix) {
    const auto rows = static_cast<uint64_t>(matrix.rows), columns = static_cast<uint64_t>(matrix.columns);
    if (is_nvfp4(stored.form)) return {rows * columns / 2, rows * columns / kScaleColumns, 0};
    const WeightFormat& format = matrix.format;
    const uint64_t groups = rows * (columns / static_cast<uint64_t>(format.group_size));
    return {format.data_bytes(matrix.rows, matrix.columns), groups * dtype_bytes(stored.scales),
            groups * static_cast<uint64_t>(format.bits) / 8};
}

float load_scale(DType dtype, const std::byte* scales, uint64_t index) {
    const std::byte* at = scales + index * dtype_bytes(dtype);
    if (dtype == DType::kBF16) return bf16_to_float(load_unaligned<uint16_t>(at));
    if (dtype == DType::kF16) return f16_to_float(load_unaligned<uint16_t>(at));
    return load_unaligned<float>(at);
}

void store_scale(DType dtype, float value, std::byte* scales, uint64_t index) {
    std::byte* at = scales + index * dtype_bytes(dtype);
    if (dtype == DType::kBF16) return store_unaligned(at, float_to_bf16(value));
    if (dtype == DType::kF16) return store_unaligned(at, float_to_f16(value));
    store_unaligned(at, value);
}

uint32_t word_at(const std::byte* words, uint64_t index) {
    return load_unaligned<uint32_t>(words + index * sizeof(uint32_t));
}

// Nibble j of word i and nibble i of word j change places.
void transpose_nibbles(std::array<uint32_t, 8>& words) {
    constexpr std::array<uint32_t, 3> kMasks = {0x0000FFFF, 0x00FF00FF, 0x0F0F0F0F};
    size_t distance = 4;
    for (const uint32_t mask : kMasks) {
        const auto shift = static_cast<uint32_t>(4 * distance);
        for (size_t i = 0; i < words.size(); ++i) {
            if ((i & distance) != 0) continue;
            const uint32_t differ = ((words[i] >> shift) ^ words[i + distance]) & mask;
            words[i] ^= differ << shift;
            words[i + distance] ^= differ;
        }
        distance /= 2;
    }
}

void take_awq_codes(const std::byte* stored, const ProjectionLayout& matrix, std::byte* data) {
    const auto row_words = static_cast<uint64_t>(matrix.rows / 8),
               column_words = static_cast<uint64_t>(matrix.columns / 8);
    for (uint64_t r = 0; r < row_words; ++r) {
        for (uint64_t c = 0; c < column_words; ++c) {
            std::array<uint32_t, 8> words;
            for (uint64_t j = 0; j < words.size(); ++j) words[j] = word_at(stored, (8 * c + j) * row_words + r);
            transpose_nibbles(words);
            for (size_t p = 0; p < words.size(); ++p) {
                const uint64_t row = 8 * r + static_cast<uint64_t>(kAwqOrder[p]);
                store_unaligned(data + (row * column_words + c) * sizeof(uint32_t), words[p]);
            }
        }
    }
}

// Where scale and zero point of a row's group are published.
class PublishedGroups {
  public:
    PublishedGroups(const StoredForm& stored, const ProjectionLayout& matrix, const std::byte* scales,
                    const std::byte* zero_points)
        : stored_(stored),
          rows_(static_cast<uint64_t>(matrix.rows)),
          groups_(static_cast<uint64_t>(matrix.columns / matrix.format.group_size)),
          bits_(static_cast<uint32_t>(matrix.format.bits)),
          scales_(scales),
          zero_points_(zero_points) {}

    float scale(uint64_t row, uint64_t group) const {
        const bool by_row = stored_.form == MatrixForm::kSymmetric || stored_.form == MatrixForm::kAsymmetric;
        return load_scale(stored_.scales, scales_, by_row ? row * groups_ + group : group * rows_ + row);
    }

    // The code that stands for 0.
    float zero(uint64_t row, uint64_t group) const {
        if (stored_.form == MatrixForm::kSymmetric) return static_cast<float>(1u << (bits_ - 1));
        const uint64_t per_word = kCodeWordBits / bits_, word_row = row / per_word;
        const bool by_group = stored_.form != MatrixForm::kAsymmetric;
        const uint64_t index = by_group ? group * (rows_ / per_word) + word_row : word_row * groups_ + group;
        const uint32_t code =
            (word_at(zero_points_, index) >> (bits_ * place_of(row % per_word))) & ((1u << bits_) - 1);
        return static_cast<float>(code + (stored_.form == MatrixForm::kGptq ? 1 : 0));
    }

  private:
    uint32_t place_of(uint64_t row) const {
        if (stored_.form != MatrixForm::kAwq) return static_cast<uint32_t>(row);
        return static_cast<uint32_t>(row % 2 == 0 ? row / 2 : 4 + row / 2);
    }

    StoredForm stored_;
    uint64_t rows_, groups_;
    uint32_t bits_;
    const std::byte *scales_, *zero_points_;
};

void make_groups(const PublishedGroups& published, const ProjectionLayout& matrix, std::byte* base) {
    const auto groups = static_cast<uint64_t>(matrix.columns / matrix.format.group_size);
    for (uint64_t row = 0; row < static_cast<uint64_t>(matrix.rows); ++row) {
        for (uint64_t group = 0; group < groups; ++group) {
            const float scale = published.scale(row, group);
            store_scale(matrix.format.dtype, scale, base + matrix.scales, row * groups + group);
            store_scale(matrix.format.dtype, -published.zero(row, group) * scale, base + matrix.zero_points,
                        row * groups + group);
        }
    }
}

// Pairs of neighbours become pairs of halves of 16 columns.
void make_nvfp4_block(const std::byte* codes, const std::byte* scales, std::byte* block) {
    std::memcpy(block, scales, kBlockScales);
    block += kBlockScales;
    for (int64_t part = 0; part < kBlockScales; ++part, codes += kScaleColumns / 2, block += kScaleColumns / 2) {
        const auto code = [&](int64_t i) {
            return (static_cast<unsigned>(codes[i / 2]) >> (i % 2 == 0 ? 0 : 4)) & 15u;
        };
        for (int64_t i = 0; i < kScaleColumns / 2; ++i) {
            block[i] = static_cast<std::byte>(code(i) | code(i + kScaleColumns / 2) << 4);
        }
    }
}

void make_nvfp4(const StoredForm& stored, const ProjectionLayout& matrix, std::byte* base, const std::byte* codes) {
    const std::byte* scales = codes + stored_bytes(stored, matrix).data;
    const int64_t blocks = matrix.rows * (matrix.columns / kBlockColumns);
    std::byte* block = base + matrix.data;
    for (int64_t i = 0; i < blocks; ++i, block += kBlockBytes) {
        make_nvfp4_block(codes + i * kBlockColumns / 2, scales + i * kBlockScales, block);
    }
    if (stored.form != MatrixForm::kNvfp4Divided) return;
    std::byte* const factor = base + matrix.scales;
    store_unaligned(factor, 1.0f / load_unaligned<float>(factor));
}

}  // namespace

LandingPlaces landing_places(const StoredForm& stored, const ProjectionLayout& matrix) {
    if (!is_nvfp4(stored.form)) return {matrix.data, matrix.scales, matrix.zero_points};
    return {matrix.data, matrix.data + stored_bytes(stored, matrix).data, matrix.scales};
}

uint64_t matrix_scratch_bytes(const StoredForm& stored, const ProjectionLayout& matrix) {
    if (stored.form == MatrixForm::kAsFormat || stored.form == MatrixForm::kSymmetric) return 0;
    const StoredBytes bytes = stored_bytes(stored, matrix);
    if (stored.form == MatrixForm::kAsymmetric) return bytes.scales + bytes.zero_points;
    return bytes.data + bytes.scales + bytes.zero_points;
}

void arrange_matrix(const StoredForm& stored, const ProjectionLayout& matrix, std::byte* base,
                    std::span<std::byte> scratch) {
    if (stored.as_format()) return;
    // Scales stay where they are: each is read before its place is written.
    if (stored.form == MatrixForm::kSymmetric) {
        return make_groups({stored, matrix, base + matrix.scales, nullptr}, matrix, base);
    }
    const StoredBytes bytes = stored_bytes(stored, matrix);
    const LandingPlaces places = landing_places(stored, matrix);
    std::byte* free = scratch.data();
    const auto put_aside = [&](uint64_t place, uint64_t count) {
        std::memcpy(free, base + place, count);
        return std::exchange(free, free + count);
    };
    const std::byte* data = stored.form == MatrixForm::kAsymmetric ? nullptr : put_aside(places.data, bytes.data);
    const std::byte* scales = put_aside(places.scales, bytes.scales);
    if (is_nvfp4(stored.form)) return make_nvfp4(stored, matrix, base, data);
    const std::byte* zero_points = put_aside(places.factors, bytes.zero_points);
    if (stored.form == MatrixForm::kAwq) take_awq_codes(data, matrix, base + matrix.data);
    if (stored.form == MatrixForm::kGptq || stored.form == MatrixForm::kGptq2) {
        const int64_t words = matrix.columns * matrix.format.bits / kCodeWordBits;
        transpose<uint32_t>({data, 0, 1, matrix.rows}, matrix.rows, words, base + matrix.data);
    }
    make_groups({stored, matrix, scales, zero_points}, matrix, base);
}

template <typename Element>
void transpose(const StoredMatrix& from, int64_t rows, int64_t columns, std::byte* to) {
    for (int64_t row = 0; row < rows; row += kTile) {
        const int64_t last_row = std::min(row + kTile, rows);
        for (int64_t column = 0; column < columns; column += kTile) {
            const int64_t last_column = std::min(column + kTile, columns);
            for (int64_t r = row; r < last_row; ++r) {
                for (int64_t c = column; c < last_column; ++c) {
                    const int64_t source = c * from.stride + from.first + r * from.step;
                    std::memcpy(to + static_cast<size_t>(r * columns + c) * sizeof(Element),
                                from.data + static_cast<size_t>(source) * sizeof(Element), sizeof(Element));
                }
            }
        }
    }
}

template void transpose<uint16_t>(const StoredMatrix&, int64_t, int64_t, std::byte*);
template void transpose<uint32_t>(const StoredMatrix&, int64_t, int64_t, std::byte*);

}  // namespace sluice
