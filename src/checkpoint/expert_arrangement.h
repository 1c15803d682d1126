#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "checkpoint/checkpoint.h"
#include "checkpoint/matrix_form.h"

namespace sluice {

// How published experts differ from records. Such an expert is read as it lies in the files and arranged when all of
// it is there.
struct ExpertForm {
    bool alternating = false;  // rows of gate and up take turns in one stack, gate first
    bool transposed = false;   // stacks are [columns, rows] instead of [rows, columns]; plain floats alone
    StoredForm stored{};       // of each matrix

    // Gate and up are read together, one part after the other from the start of gate on.
    bool parts_gate_and_up() const { return alternating || transposed; }
    bool as_record() const { return !parts_gate_and_up() && stored.as_format(); }
};

// Of memory that arrange_expert() needs beside a record; nothing where there is nothing to be done.
std::optional<uint64_t> arrangement_scratch_bytes(const ExpertForm& form, const ExpertLayout& layout);

// Makes of a slot into which an expert was read a record. `scratch` is arrangement_scratch_bytes() long.
void arrange_expert(const ExpertForm& form, const ExpertLayout& layout, std::span<std::byte> slot,
                    std::span<std::byte> scratch);

}  // namespace sluice
