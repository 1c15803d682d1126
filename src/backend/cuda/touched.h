#pragma once

// The memory that operations name.

#include <cstdint>
#include <vector>

#include "backend/operations.h"

namespace sluice::cuda {

// Operations that are handed over at once.
using OperationGroup = std::vector<Operation>;

// Bytes of a buffer that an operation reads or writes.
struct Touched {
    const Buffer* buffer;
    uint64_t begin, end;
    bool written;

    bool conflicts(const Touched& other) const {
        return buffer == other.buffer && (written || other.written) && begin < other.end && other.begin < end;
    }
};

std::vector<Touched> touched_by(const OperationGroup& group);
bool conflict(const std::vector<Touched>& a, const std::vector<Touched>& b);

}  // namespace sluice::cuda
