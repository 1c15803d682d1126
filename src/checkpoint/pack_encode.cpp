#include "checkpoint/pack_encode.h"

#include <algorithm>

#include "base/error.h"
#include "base/memory.h"
#include "checkpoint/expert_layout.h"
#include "checkpoint/packed_layout.h"

namespace sluice {

namespace {

constexpr uint64_t kMoveBytes = 32ull << 20;    // of a tensor that is moved, at once
constexpr uint64_t kBatchBytes = 768ull << 20;  // of experts, at once
constexpr int64_t kRowsPerTask = 16;
constexpr uint64_t kFloatsPerPiece = 8ull << 20;  // of a matrix that is encoded, at once

// Rows [first, first + count) of `source` in `format`, a scale of which serves one row. `name` goes into errors, with
// the row's number counted from `row_base`.
void encode_rows(const WeightView& source, const WeightFormat& format, int64_t first, int64_t count,
                 const EncodedRows& out, const std::string& name, int64_t row_base = 0) {
    const WeightView rows = source.rows_at(first, count);
    std::vector<float> values(static_cast<size_t>(source.columns));
    for (int64_t row = 0; row < count; ++row) {
        decode_row(rows, row, values.data());
        const auto i = static_cast<uint64_t>(row);
        try {
            encode(format, values.data(), 1, source.columns,
                   {.data = out.data + i * format.data_row_bytes(source.columns),
                    .scales = out.scales + i * format.scale_row_bytes(source.columns),
                    .zero_points = out.zero_points + i * format.zero_point_row_bytes(source.columns)});
        } catch (const Error& error) {
            fail(error.code(), "{}: row {}: {}", name, row_base + first + row, error.what());
        }
    }
}

// Rows [first, first + count) of a matrix whose bytes of these rows are at `data`, and all of its scales at `scales`.
WeightView rows_of(const WeightSource& source, int64_t first, int64_t count, const std::byte* data,
                   const std::byte* scales) {
    WeightView rows{.format = source.format, .rows = count, .columns = source.columns, .data = data};
    if (!source.format.has_scales()) return rows;
    const int64_t group = first / source.format.group_rows;
    rows.scales = scales + static_cast<uint64_t>(group) * source.format.scale_row_bytes(source.columns);
    rows.block_row_offset = first % source.format.group_rows;
    return rows;
}

// One part of an expert that keeps its format: from where the source has it to where the target wants it.
void move_part(const WeightFormat& format, int64_t rows, int64_t columns, const ProjectionLayout& from,
               const ProjectionLayout& to, std::span<const std::byte> slot, std::span<std::byte> record) {
    const auto copy = [&](uint64_t source, uint64_t target, uint64_t bytes) {
        std::ranges::copy(slot.subspan(source, bytes), record.begin() + static_cast<ptrdiff_t>(target));
    };
    copy(from.data, to.data, format.data_bytes(rows, columns));
    copy(from.scales, to.scales, format.scale_bytes(rows, columns));
    copy(from.zero_points, to.zero_points, format.zero_point_bytes(rows, columns));
}

}  // namespace

PackEncoder::PackEncoder(const Checkpoint& checkpoint) : checkpoint_(checkpoint), pool_(0) {
    for (const CheckpointFile& file : checkpoint.files()) files_.push_back(File::open(file.path));
}

void PackEncoder::encode_record(const PackLayer& layer, int64_t expert, std::span<std::byte> slot,
                                std::span<std::byte> record) const {
    std::ranges::fill(record, std::byte{0});
    const std::span<std::byte> destination = layer.encode ? slot : record;
    for (const ExpertRead& read : checkpoint_.expert_reads(layer.layer, static_cast<int>(expert))) {
        files_[read.source.file].read_at(read.source.offset, destination.subspan(read.slot_offset, read.source.bytes));
    }
    std::vector<std::byte> scratch(checkpoint_.arrangement_scratch(layer.layer).value_or(0));
    checkpoint_.arrange_expert(layer.layer, destination, scratch);
    ExpertLayout written = layer.source;
    if (layer.encode) written = encode_matrices(layer, expert, slot, record);
    scratch.resize(std::max<size_t>(scratch.size(), turn_scratch_bytes(written, layer.target)));
    turn_expert(written, layer.target, record, scratch);
}

ExpertLayout PackEncoder::encode_matrices(const PackLayer& layer, int64_t expert, std::span<const std::byte> slot,
                                          std::span<std::byte> record) const {
    ExpertLayout written = layer.target;
    for (const Projection projection : kProjections) {
        const ProjectionLayout& from = projection_of(layer.source, projection);
        const ProjectionLayout& to = projection_of(layer.target, projection);
        projection_of(written, projection).tiled = from.format == to.format && from.tiled;
        if (from.format == to.format) {
            move_part(from.format, from.rows, from.columns, from, to, slot, record);
            continue;
        }
        const EncodedRows out{record.data() + to.data, record.data() + to.scales, record.data() + to.zero_points};
        encode_rows(view_in_slot(from, slot.data()), to.format, 0, from.rows, out,
                    fmt::format("{}: layer {}, expert {}, {}", checkpoint_.folder().string(), layer.layer, expert,
                                projection_name(projection)));
    }
    return written;
}

void PackEncoder::encode_layer(const PackLayer& layer, const RecordSink& sink) {
    const uint64_t slot_bytes = layer.encode ? layer.source.record_bytes : 0;
    const uint64_t each = slot_bytes + layer.target.record_bytes;
    const std::vector<int64_t>& experts = layer.experts;
    const auto batch = std::clamp<size_t>(kBatchBytes / each, 1, std::min<size_t>(experts.size(), 4 * pool_.threads()));
    PageMemory memory(batch * each);
    std::vector<uint64_t> checksums(batch);
    const auto record_of = [&](size_t i) {
        return memory.bytes().subspan(i * each + slot_bytes, layer.target.record_bytes);
    };
    for (size_t first = 0; first < experts.size(); first += batch) {
        const size_t count = std::min(batch, experts.size() - first);
        pool_.parallel_for(count, 1, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) {
                encode_record(layer, experts[first + i], memory.bytes().subspan(i * each, slot_bytes), record_of(i));
                checksums[i] = record_checksum(record_of(i));
            }
        });
        for (size_t i = 0; i < count; ++i) sink(record_of(i), checksums[i]);
    }
}

void PackEncoder::encode_trunk(const PackTrunk& unit, const TensorSink& sink) {
    unit.target ? encode_matrix(unit, sink) : move_trunk(unit, sink);
}

void PackEncoder::move_trunk(const PackTrunk& unit, const TensorSink& sink) {
    std::vector<std::byte> buffer;
    for (size_t i = 0; i < unit.declarations.size(); ++i) {
        const ByteRange& range = unit.moved[i];
        for (uint64_t offset = 0; offset < range.bytes; offset += kMoveBytes) {
            buffer.resize(std::min(kMoveBytes, range.bytes - offset));
            files_[range.file].read_at(range.offset + offset, buffer);
            sink(unit.declarations[i].name, buffer, offset);
        }
    }
}

void PackEncoder::encode_matrix(const PackTrunk& unit, const TensorSink& sink) {
    const WeightSource& source = unit.source;
    const WeightFormat& format = *unit.target;
    const uint64_t source_bytes = source.format.data_row_bytes(source.columns);
    const uint64_t data_bytes = format.data_row_bytes(source.columns);
    const uint64_t scale_bytes = format.scale_row_bytes(source.columns);
    const uint64_t zero_point_bytes = format.zero_point_row_bytes(source.columns);
    const auto at_once = std::clamp<int64_t>(static_cast<int64_t>(kFloatsPerPiece) / source.columns, 1, source.rows);
    const auto piece = static_cast<uint64_t>(at_once);
    // Read, not mapped: the pages of a mapping would count as this process's memory to the end.
    std::vector<std::byte> stored(piece * source_bytes), factors(source.scales.bytes);
    std::vector<std::byte> data(piece * data_bytes), scales(piece * scale_bytes), zero_points(piece * zero_point_bytes);
    files_[source.scales.file].read_at(source.scales.offset, factors);
    const File& file = files_[source.data.file];
    const std::string name = file.label() + ": tensor " + source.spelled;
    for (int64_t first = 0; first < source.rows; first += at_once) {
        const int64_t count = std::min(at_once, source.rows - first);
        const auto n = static_cast<uint64_t>(count), start = static_cast<uint64_t>(first);
        file.read_at(source.data.offset + start * source_bytes, std::span(stored).first(n * source_bytes));
        const WeightView rows = rows_of(source, first, count, stored.data(), factors.data());
        pool_.parallel_for(static_cast<size_t>(count), kRowsPerTask, [&](size_t begin, size_t end) {
            const EncodedRows out{data.data() + begin * data_bytes, scales.data() + begin * scale_bytes,
                                  zero_points.data() + begin * zero_point_bytes};
            encode_rows(rows, format, static_cast<int64_t>(begin), static_cast<int64_t>(end - begin), out, name, first);
        });
        sink(unit.declarations[0].name, std::span(data).first(n * data_bytes), start * data_bytes);
        sink(unit.declarations[1].name, std::span(scales).first(n * scale_bytes), start * scale_bytes);
        sink(unit.declarations[2].name, std::span(zero_points).first(n * zero_point_bytes), start * zero_point_bytes);
    }
}

}  // namespace sluice
