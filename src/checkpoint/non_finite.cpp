#include "checkpoint/non_finite.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "checkpoint/expert_layout.h"

namespace sluice {

namespace {

std::optional<std::string> first_non_finite(const WeightView& view, const std::string& name) {
    std::vector<float> row(static_cast<size_t>(view.columns));
    for (int64_t r = 0; r < view.rows; ++r) {
        decode_row(view, r, row.data());
        for (size_t c = 0; c < row.size(); ++c) {
            if (std::isfinite(row[c])) continue;
            return fmt::format("{}: {} at row {}, column {}", name, row[c], r, c);
        }
    }
    return std::nullopt;
}

std::optional<std::string> search_experts(const Checkpoint& checkpoint, const ExpertSources& experts, int layer) {
    std::vector<std::byte> slot(experts.layout.record_bytes),
        scratch(checkpoint.arrangement_scratch(layer).value_or(0));
    for (int expert = 0; expert < checkpoint.config().experts(); ++expert) {
        if (!checkpoint.holds(layer, expert)) continue;
        for (const ExpertRead& read : checkpoint.expert_reads(layer, expert)) {
            const std::span<const std::byte> bytes = checkpoint.mapped(read.source);
            std::memcpy(slot.data() + read.slot_offset, bytes.data(), bytes.size());
        }
        checkpoint.arrange_expert(layer, slot, scratch);
        for (const Projection projection : kProjections) {
            const WeightView view = view_in_slot(projection_of(experts.layout, projection), slot.data());
            const std::string name =
                fmt::format("{}, expert {}, {}", experts.module, expert, projection_name(projection));
            if (auto found = first_non_finite(view, name)) return found;
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> find_non_finite_weight(const Checkpoint& checkpoint, const Catalogue& catalogue) {
    for (const TrunkWeight& weight : catalogue.trunk) {
        if (weight.spec.shape == WeightShape::kNumbers) continue;
        if (auto found = first_non_finite(checkpoint.view(weight.source), weight.source.spelled)) return found;
    }
    for (size_t layer = 0; layer < catalogue.experts.size(); ++layer) {
        const ExpertSources& experts = catalogue.experts[layer];
        if (experts.ranges.empty()) continue;
        if (auto found = search_experts(checkpoint, experts, static_cast<int>(layer))) return found;
    }
    return std::nullopt;
}

}  // namespace sluice
