#include "checkpoint/expert_arrangement.h"

#include <algorithm>
#include <cstring>

#include "checkpoint/expert_layout.h"
#include "checkpoint/matrix_arrangement.h"

namespace sluice {

namespace {

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

void transpose_floats(const StoredMatrix& from, const ProjectionLayout& matrix, std::byte* slot) {
    std::byte* const to = slot + matrix.data;
    if (dtype_bytes(matrix.format.dtype) == sizeof(uint16_t)) {
        return transpose<uint16_t>(from, matrix.rows, matrix.columns, to);
    }
    transpose<uint32_t>(from, matrix.rows, matrix.columns, to);
}

// The bytes in which gate and up were read, one part after the other.
uint64_t bytes_of_both(const ExpertLayout& layout) {
    return 2 * static_cast<uint64_t>(layout.gate.rows) * RowBytes(layout.gate).all();
}

}  // namespace

std::optional<uint64_t> arrangement_scratch_bytes(const ExpertForm& form, const ExpertLayout& layout) {
    if (form.as_record()) return std::nullopt;
    if (form.parts_gate_and_up()) return bytes_of_both(layout);  // down is half as large
    uint64_t most = 0;
    for (const Projection projection : kProjections) {
        most = std::max(most, matrix_scratch_bytes(form.stored, projection_of(layout, projection)));
    }
    return most;
}

void arrange_expert(const ExpertForm& form, const ExpertLayout& layout, std::span<std::byte> slot,
                    std::span<std::byte> scratch) {
    for (const Projection projection : kProjections) {
        arrange_matrix(form.stored, projection_of(layout, projection), slot.data(), scratch);
    }
    if (!form.parts_gate_and_up()) return;
    std::memcpy(scratch.data(), slot.data() + layout.gate.data, bytes_of_both(layout));
    if (!form.transposed) return part_rows(layout, slot.data(), scratch.data());
    const int64_t rows = layout.gate.rows, stride = 2 * rows;
    const StoredMatrix gate{scratch.data(), 0, form.alternating ? 2 : 1, stride};
    transpose_floats(gate, layout.gate, slot.data());
    transpose_floats({scratch.data(), form.alternating ? 1 : rows, gate.step, stride}, layout.up, slot.data());
    const ProjectionLayout& down = layout.down;
    const uint64_t down_bytes = down.format.data_bytes(down.rows, down.columns);
    std::memcpy(scratch.data(), slot.data() + down.data, down_bytes);
    transpose_floats({scratch.data(), 0, 1, down.rows}, down, slot.data());
}

}  // namespace sluice
