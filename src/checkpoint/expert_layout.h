#pragma once

#include <array>
#include <functional>
#include <span>

#include "checkpoint/checkpoint.h"
#include "tensor/weight_view.h"

namespace sluice {

enum class Projection : uint8_t { kGate, kUp, kDown };
inline constexpr std::array kProjections = {Projection::kGate, Projection::kUp, Projection::kDown};

std::string_view projection_name(Projection projection);  // "gate_proj", "up_proj", "down_proj"

// Where each part of an expert lies in its slot, and so in a packed record: data, scales and zero points of gate, then
// of up, then of down, each at the next multiple of 64 bytes; the whole rounded up to 4096. Without a gate that matrix
// has no rows.
ExpertLayout make_expert_layout(const WeightFormat& gate, const WeightFormat& up, const WeightFormat& down,
                                int64_t hidden, int64_t intermediate, bool gated = true);

// The same with those matrices in tiles (tensor/row_tiles.h) that fit them and whose format `in_tiles` says yes to.
ExpertLayout tiled_layout(ExpertLayout layout, const std::function<bool(const WeightFormat&)>& in_tiles);

// Turns what stands in a slot as `from` says to tiles or rows as `to` says, which differ in nothing else. `scratch` is
// of the size that turn_scratch_bytes() says; 0: there is nothing to be done.
void turn_expert(const ExpertLayout& from, const ExpertLayout& to, std::span<std::byte> slot,
                 std::span<std::byte> scratch);
uint64_t turn_scratch_bytes(const ExpertLayout& from, const ExpertLayout& to);

ProjectionLayout& projection_of(ExpertLayout& layout, Projection projection);
const ProjectionLayout& projection_of(const ExpertLayout& layout, Projection projection);

// The matrix as it lies in a filled slot (or record).
WeightView view_in_slot(const ProjectionLayout& projection, const std::byte* slot);

}  // namespace sluice
