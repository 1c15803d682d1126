#include "tests/checkpoint/packed_values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace sluice::testing {

namespace {

std::vector<float> decode(const WeightView& view) {
    std::vector<float> values(static_cast<size_t>(view.rows * view.columns));
    for (int64_t row = 0; row < view.rows; ++row) {
        decode_row(view, row, values.data() + static_cast<size_t>(row * view.columns));
    }
    return values;
}

}  // namespace

std::vector<float> expert_values(const Checkpoint& checkpoint, int layer, int expert, Projection projection) {
    const ExpertLayout& layout = checkpoint.expert_layout(layer);
    std::vector<std::byte> slot(layout.record_bytes);
    for (const ExpertRead& read : checkpoint.expert_reads(layer, expert)) {
        const auto bytes = checkpoint.mapped(read.source);
        std::copy(bytes.begin(), bytes.end(), slot.begin() + static_cast<ptrdiff_t>(read.slot_offset));
    }
    std::vector<std::byte> scratch(checkpoint.arrangement_scratch(layer).value_or(0));
    checkpoint.arrange_expert(layer, slot, scratch);
    return decode(view_in_slot(projection_of(layout, projection), slot.data()));
}

std::vector<float> trunk_values(const Checkpoint& checkpoint, int layer, Role role) {
    const auto known = std::ranges::find_if(checkpoint.trunk(), [&](const TrunkWeight& weight) {
        return weight.layer == layer && weight.spec.role == role;
    });
    // A head that is the embedding is a matrix, too.
    const bool is_vector = known != checkpoint.trunk().end() && !known->spec.is_matrix();
    return is_vector ? checkpoint.vector(layer, role) : decode(checkpoint.view(checkpoint.weight(layer, role)));
}

double relative_error(const std::vector<float>& values, const std::vector<float>& expected) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < values.size(); ++i) {
        difference += std::pow(static_cast<double>(values[i]) - expected[i], 2);
        size += std::pow(static_cast<double>(expected[i]), 2);
    }
    return values.size() == expected.size() ? std::sqrt(difference / size) : INFINITY;
}

void expect_same_weights(const Checkpoint& a, const Checkpoint& b) {
    const auto place = [](const TrunkWeight& weight) { return std::pair(weight.layer, weight.spec.role); };
    ASSERT_TRUE(std::ranges::equal(a.trunk(), b.trunk(), {}, place, place));
    for (const auto& [layer, spec, source] : a.trunk()) {
        ASSERT_EQ(trunk_values(a, layer, spec.role), trunk_values(b, layer, spec.role)) << source.name;
    }
    for (int layer = 0; layer < a.config().layer_count(); ++layer) {
        const MixtureConfig* mixture = a.config().mixture_of(layer);
        for (int expert = 0; mixture != nullptr && expert < mixture->experts; ++expert) {
            for (const Projection projection : kProjections) {
                ASSERT_EQ(expert_values(a, layer, expert, projection), expert_values(b, layer, expert, projection))
                    << "layer " << layer << ", expert " << expert << ", " << projection_name(projection);
            }
        }
    }
}

}  // namespace sluice::testing
