#include "checkpoint/expert_arrangement.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/expert_layout.h"
#include "tensor/float_types.h"

namespace sluice {

namespace {

// Elements of both sides of a tile of a transposition stay in the first cache.
constexpr int64_t kTile = 32;

// What one part of a matrix (data, scales or zero points) occupies: as many rows, one after the other.
struct RowBytes {
    uint64_t data, scales, zero_points;

    explicit RowBytes(const ProjectionLayout& matrix)
        : data(matrix.format.data_row_bytes(matrix.columns)),
          scales(matrix.format.scale_row_bytes(matrix.columns)),
          zero_points(matrix.format.zero_point_row_bytes(matrix.columns)) {}
    uint64_t all() const { return data + scales + zero_points; }
};

// Every second of 2 * count rows, from `from` on.
void take_every_second(const std::byte* from, int64_t count, uint64_t row_bytes, std::byte* to) {
    for (int64_t row = 0; row < count; ++row, from += 2 * row_bytes, to += row_bytes) {
        std::memcpy(to, from, row_bytes);
    }
}

void part_rows(const ExpertLayout& layout, std::byte* slot, const std::byte* both) {
    const RowBytes bytes(layout.gate);
    const int64_t rows = layout.gate.rows;
    const auto part = [&](uint64_t gate, uint64_t up, uint64_t row_bytes) {
        if (row_bytes == 0) return;
        take_every_second(both, rows, row_bytes, slot + gate);
        take_every_second(both + row_bytes, rows, row_bytes, slot + up);
        both += 2 * static_cast<uint64_t>(rows) * row_bytes;
    };
    part(layout.gate.data, layout.up.data, bytes.data);
    part(layout.gate.scales, layout.up.scales, bytes.scales);
    part(layout.gate.zero_points, layout.up.zero_points, bytes.zero_points);
}

// Where columns of a stored matrix become rows of another: row r is column first + r * step of `stride`.
struct StoredColumns {
    const std::byte* data;
    int64_t first, step, stride;
};

template <typename Element>
void transpose(const StoredColumns& from, const ProjectionLayout& matrix, std::byte* slot) {
    std::byte* const to = slot + matrix.data;
    for (int64_t row = 0; row < matrix.rows; row += kTile) {
        const int64_t last_row = std::min(row + kTile, matrix.rows);
        for (int64_t column = 0; column < matrix.columns; column += kTile) {
            const int64_t last_column = std::min(column + kTile, matrix.columns);
            for (int64_t r = row; r < last_row; ++r) {
                for (int64_t c = column; c < last_column; ++c) {
                    const int64_t source = c * from.stride + from.first + r * from.step;
                    std::memcpy(to + static_cast<size_t>(r * matrix.columns + c) * sizeof(Element),
                                from.data + static_cast<size_t>(source) * sizeof(Element), sizeof(Element));
                }
            }
        }
    }
}

void transpose_floats(const StoredColumns& from, const ProjectionLayout& matrix, std::byte* slot) {
    if (dtype_bytes(matrix.format.dtype) == sizeof(uint16_t)) return transpose<uint16_t>(from, matrix, slot);
    transpose<uint32_t>(from, matrix, slot);
}

// The bytes in which gate and up were read, one part after the other.
uint64_t bytes_of_both(const ExpertLayout& layout) {
    return 2 * static_cast<uint64_t>(layout.gate.rows) * RowBytes(layout.gate).all();
}

// Zero points of codes from 0 on, of which half the range stands for 0.
void make_zero_points(const ProjectionLayout& matrix, std::byte* slot) {
    const WeightFormat& format = matrix.format;
    const auto middle = static_cast<float>(1 << (format.bits - 1));
    const std::byte* scales = slot + matrix.scales;
    std::byte* zero_points = slot + matrix.zero_points;
    const uint64_t bytes = format.scale_bytes(matrix.rows, matrix.columns);
    for (uint64_t at = 0; at < bytes; at += dtype_bytes(format.dtype)) {
        switch (format.dtype) {
            case DType::kBF16:
                store_unaligned(zero_points + at,
                                float_to_bf16(-middle * bf16_to_float(load_unaligned<uint16_t>(scales + at))));
                break;
            case DType::kF16:
                store_unaligned(zero_points + at,
                                float_to_f16(-middle * f16_to_float(load_unaligned<uint16_t>(scales + at))));
                break;
            default:
                store_unaligned(zero_points + at, -middle * load_unaligned<float>(scales + at));
        }
    }
}

}  // namespace

std::optional<uint64_t> arrangement_scratch_bytes(const ExpertForm& form, const ExpertLayout& layout) {
    if (form.as_record()) return std::nullopt;
    return form.parts_gate_and_up() ? bytes_of_both(layout) : 0;  // down is half as large
}

void arrange_expert(const ExpertForm& form, const ExpertLayout& layout, std::span<std::byte> slot,
                    std::span<std::byte> scratch) {
    if (form.symmetric) {
        for (const Projection projection : kProjections) {
            make_zero_points(projection_of(layout, projection), slot.data());
        }
    }
    if (!form.parts_gate_and_up()) return;
    std::memcpy(scratch.data(), slot.data() + layout.gate.data, bytes_of_both(layout));
    if (!form.transposed) return part_rows(layout, slot.data(), scratch.data());
    const int64_t rows = layout.gate.rows, stride = 2 * rows;
    const StoredColumns gate{scratch.data(), 0, form.alternating ? 2 : 1, stride};
    transpose_floats(gate, layout.gate, slot.data());
    transpose_floats({scratch.data(), form.alternating ? 1 : rows, gate.step, stride}, layout.up, slot.data());
    const ProjectionLayout& down = layout.down;
    const uint64_t down_bytes = down.format.data_bytes(down.rows, down.columns);
    std::memcpy(scratch.data(), slot.data() + down.data, down_bytes);
    transpose_floats({scratch.data(), 0, 1, down.rows}, down, slot.data());
}

}  // namespace sluice
