#include "tests/checkpoint/packed_values.h"

#include <gtest/gtest.h>

#include <cmath>

#include "checkpoint/role_shapes.h"

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
    return decode(view_in_slot(projection_of(layout, projection), slot.data()));
}

std::vector<float> trunk_values(const Checkpoint& checkpoint, int layer, Role role) {
    return is_vector_role(role) ? checkpoint.vector(layer, role)
                                : decode(checkpoint.view(checkpoint.weight(layer, role)));
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
    for (int layer = kNoLayer; layer < a.config().layers; ++layer) {
        for (size_t i = 0; i < kRoleCount; ++i) {
            const auto role = static_cast<Role>(i);
            ASSERT_EQ(a.has(layer, role), b.has(layer, role)) << "layer " << layer << ", role " << i;
            if (!a.has(layer, role)) continue;
            ASSERT_EQ(trunk_values(a, layer, role), trunk_values(b, layer, role)) << a.weight(layer, role).name;
        }
        const bool moe = layer >= 0 && a.config().feed_forwards[static_cast<size_t>(layer)] == FeedForwardKind::kMoe;
        for (int expert = 0; moe && expert < a.config().experts; ++expert) {
            for (const Projection projection : kProjections) {
                ASSERT_EQ(expert_values(a, layer, expert, projection), expert_values(b, layer, expert, projection))
                    << "layer " << layer << ", expert " << expert << ", " << projection_name(projection);
            }
        }
    }
}

}  // namespace sluice::testing
