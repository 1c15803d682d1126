#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "backend/backend.h"

namespace sluice {

// A step of one sequence that was handed over while the one before it runs, over the token that is drawn there. What it
// changes is seen only where this very step is asked for later.
struct StepAhead {
    uint64_t version = 0;  // of the state that it goes on from; 0: not known yet, nor is the token
    int32_t id = -1;       // that it is about
    int64_t likeliest_of = 0;
    std::optional<DrawSettings> draw = {};
    std::optional<int32_t> written = {};  // the slot that the state goes into; none without recurrent layers
    size_t told = 0;                      // where its own token arrives
    EventPtr done = {};
};

}  // namespace sluice
