#include "checkpoint/expert_layout.h"

#include <algorithm>

#include "base/memory.h"
#include "tensor/row_tiles.h"

namespace sluice {

namespace {

constexpr uint64_t kPartAlignment = 64;  // a cache line, and any vector register

// Places a part of `bytes` at `position` and returns where the next one may begin.
uint64_t place(uint64_t& offset, uint64_t bytes, uint64_t position) {
    offset = bytes == 0 ? 0 : position;
    return round_up(position + bytes, kPartAlignment);
}

}  // namespace

std::string_view projection_name(Projection projection) {
    switch (projection) {
        case Projection::kGate:
            return "gate_proj";
        case Projection::kUp:
            return "up_proj";
        case Projection::kDown:
            return "down_proj";
    }
    return "";
}

ExpertLayout make_expert_layout(const WeightFormat& gate, const WeightFormat& up, const WeightFormat& down,
                                int64_t hidden, int64_t intermediate, bool gated) {
    ExpertLayout layout;
    layout.gate = {.format = gate, .rows = gated ? intermediate : 0, .columns = hidden};
    layout.up = {.format = up, .rows = intermediate, .columns = hidden};
    layout.down = {.format = down, .rows = hidden, .columns = intermediate};
    uint64_t position = 0;
    for (const Projection projection : kProjections) {
        ProjectionLayout& part = projection_of(layout, projection);
        position = place(part.data, part.format.data_bytes(part.rows, part.columns), position);
        position = place(part.scales, part.format.scale_bytes(part.rows, part.columns), position);
        position = place(part.zero_points, part.format.zero_point_bytes(part.rows, part.columns), position);
    }
    layout.record_bytes = round_up(position, kPageBytes);
    return layout;
}

ExpertLayout tiled_layout(ExpertLayout layout, const std::function<bool(const WeightFormat&)>& in_tiles) {
    for (const Projection projection : kProjections) {
        ProjectionLayout& part = projection_of(layout, projection);
        part.tiled =
            part.rows > 0 && in_tiles && fits_tiles(part.format, part.rows, part.columns) && in_tiles(part.format);
    }
    return layout;
}

void turn_expert(const ExpertLayout& from, const ExpertLayout& to, std::span<std::byte> slot,
                 std::span<std::byte> scratch) {
    for (const Projection projection : kProjections) {
        const ProjectionLayout& part = projection_of(from, projection);
        if (part.tiled == projection_of(to, projection).tiled) continue;
        turn_in_place(part.placed([&](uint64_t offset) { return slot.data() + offset; }), scratch);
    }
}

uint64_t turn_scratch_bytes(const ExpertLayout& from, const ExpertLayout& to) {
    uint64_t most = 0;
    for (const Projection projection : kProjections) {
        const ProjectionLayout& part = projection_of(from, projection);
        if (part.tiled == projection_of(to, projection).tiled) continue;
        most = std::max(most, turn_in_place_scratch_bytes(part.format, part.columns));
    }
    return most;
}

ProjectionLayout& projection_of(ExpertLayout& layout, Projection projection) {
    return projection == Projection::kGate ? layout.gate : projection == Projection::kUp ? layout.up : layout.down;
}

const ProjectionLayout& projection_of(const ExpertLayout& layout, Projection projection) {
    return projection_of(const_cast<ExpertLayout&>(layout), projection);
}

WeightView view_in_slot(const ProjectionLayout& projection, const std::byte* slot) {
    return projection.placed([&](uint64_t offset) { return slot + offset; });
}

}  // namespace sluice
