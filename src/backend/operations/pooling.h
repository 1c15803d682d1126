#pragma once

// What makes one row of a run of tokens, for caches that hold a row for each run. See backend/operations.h.

#include <cstdint>

#include "backend/operations/attention.h"
#include "backend/operations/fields.h"
#include "backend/operations/recurrent.h"
#include "backend/tensor.h"

namespace sluice {

// Runs are of `ratio` tokens, from a sequence's first on. Per channel c, with the softmax over the tokens s of a run:
// out_c = sum over s of softmax(gates_s,c + offsets_s,c) * values_s,c, at the run's last token; zeros at the others.
// Overlapping, a run has twice as many tokens and half as many channels: of the run before the first half of the
// channels, of its own tokens the second half; the first run has none before it.
struct PoolTokens {
    static constexpr const char* kName = "PoolTokens";
    Tensor values;      // [T, width]
    Tensor gates = {};  // [T, width], or empty: zero
    Tensor offsets;     // [ratio, width]
    bool overlapping = false;
    Sequences sequences;
    // [seen(), state_columns()]: value and gate of the token at position p in row p % seen(), of the last seen()
    // tokens.
    StateSlots states;
    Tensor out;  // [T, width], overlapping [T, width / 2]

    int64_t ratio() const { return offsets.rows; }
    int64_t width() const { return offsets.columns; }
    int64_t state_columns() const { return gates.buffer == nullptr ? width() : 2 * width(); }
    int64_t seen() const { return overlapping ? 2 * ratio() : ratio(); }

    void check_shapes(const OperationCheck& check) const;
    static void fields(auto& op, auto&& field) {
        field("values", op.values, Access::kRead);
        field("gates", op.gates, Access::kRead);
        field("offsets", op.offsets, Access::kRead);
        field("overlapping", op.overlapping);
        field("sequences", op.sequences);
        field("states", op.states);
        field("out", op.out, Access::kWritten);
    }
};

}  // namespace sluice
